"""Temporary stand-in until the k-means of the trainers lands."""
import torch
from codeword.functional.nearest import nearest


def kmeans(x,size,*,steps=10,seed=0,weights=None,spherical=False):
    g=torch.Generator().manual_seed(seed)
    c=x[torch.randint(len(x),(size,),generator=g)].clone()
    c+= 0.01*torch.randn(c.shape,generator=g)
    for _ in range(steps):
        i=nearest(x,c); n=torch.bincount(i,minlength=size).float()
        s=torch.zeros_like(c).index_add_(0,i,x); c=torch.where((n>0)[:,None],s/n.clamp_min(1)[:,None],c)
    return c
