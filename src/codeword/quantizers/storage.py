"""Modules in folders: what builds them again, as JSON, beside their weights, as safetensors."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from codeword.quantizers.config import Plain, build, describe

CONFIG, WEIGHTS, VERSION = "config.json", "model.safetensors", 1
_CARD = """---
{{{{ card_data }}}}
---

# {title}

{text}

```python
{use}
```
"""


def card(title: str, text: str, use: str) -> str:
    """The template of a model card: what the README of a saved folder says, for Hugging Face's ``ModelHubMixin``.

    Args:
        title: Of the page.
        text: What the folder holds.
        use: A program that loads it.
    """
    return _CARD.format(title=title, text=text, use=use)


def write_module(
    folder: Path,
    module: nn.Module,
    kind: str,
    *,
    dtype: torch.dtype | None = None,
    statistics: bool = True,
    notes: Mapping[str, Plain] | None = None,
) -> None:
    """Write a module that can say which arguments would build it again.

    Args:
        folder: Where; it exists.
        module: What.
        kind: Its word for itself, such as ``quantizer``.
        dtype: What floating-point weights are rounded to; as they are if not given.
        statistics: Whether to keep what parts call ``training_only``: statistics that training starts anew without.
        notes: What else the configuration says.
    """
    state = weights(module)
    if not statistics:
        dropped = _training_only(module)
        state = {name: value for name, value in state.items() if name not in dropped}
    if dtype is not None:
        state = {name: value.to(dtype) if value.is_floating_point() else value for name, value in state.items()}
    (folder / WEIGHTS).write_bytes(save(state))  # save_file would keep others from reading it
    config = {"format": f"codeword {kind}", "version": VERSION, **(notes or {}), kind: describe(module)}
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")


def _training_only(module: nn.Module) -> set[str]:
    """Names of the states that only training needs, such as running statistics."""
    parts = list(module.named_modules())
    return {f"{path}.{name}".lstrip(".") for path, part in parts for name in getattr(part, "training_only", ())}


def read_module(folder: Path, kind: str) -> nn.Module:
    """Read what ``write_module`` wrote, in evaluation mode and in the dtypes that its class gives it.

    Raises:
        ValueError: If the folder holds nothing of this kind, or something of a version or shape that does not fit.
    """
    path = folder / CONFIG
    if not path.is_file() or not (folder / WEIGHTS).is_file():
        raise ValueError(f"{folder} is no codeword model: it needs {CONFIG} and {WEIGHTS}")
    try:
        config = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    found = config.get("format") if isinstance(config, dict) else None
    if found != f"codeword {kind}":
        ours = isinstance(found, str) and found.startswith("codeword ")
        why = (
            f"it describes a {found}, give a model of the right kind" if ours else "was it written by save_pretrained?"
        )
        raise ValueError(f"{path} does not describe a codeword {kind}: {why}")
    if config.get("version") != VERSION:
        raise ValueError(f"{path} is of version {config.get('version')}; this codeword reads version {VERSION}")
    module = build(config.get(kind))
    if not isinstance(module, nn.Module):
        raise ValueError(f"{path} describes a {type(module).__name__}, not a {kind}")
    try:
        put_weights(module, load_file(folder / WEIGHTS))
    except (RuntimeError, OSError, SafetensorError) as error:
        what = " ".join(str(error).split())
        raise ValueError(f"{folder / WEIGHTS} is damaged or does not fit {path}: {what}") from error
    return module.eval()


def fetched(
    model_id: str,
    patterns: list[str],
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
    force_download: bool = False,
    local_files_only: bool = False,
    **_: object,
) -> Path:
    """The folder of a model: the given one, or that of a download."""
    if Path(model_id).is_dir():
        return Path(model_id)
    return Path(
        snapshot_download(
            model_id,
            allow_patterns=patterns,
            revision=revision,
            cache_dir=cache_dir,
            token=token,
            force_download=force_download,
            local_files_only=local_files_only,
        )
    )


def weights(model: nn.Module) -> dict[str, Tensor]:
    """The state of a model, under the first of its names where a part stands in several places."""
    first: dict[int, str] = {}
    state = model.state_dict(keep_vars=True)
    return {name: v.detach().contiguous() for name, v in state.items() if first.setdefault(id(v), name) == name}


def put_weights(model: nn.Module, given: dict[str, Tensor]) -> None:
    """Give a model what ``weights`` has returned.

    Raises:
        RuntimeError: If names or shapes do not fit.
    """
    first: dict[int, str] = {}
    names = {name: first.setdefault(id(v), name) for name, v in model.state_dict(keep_vars=True).items()}
    model.load_state_dict(given | {name: given[own] for name, own in names.items() if own in given}, strict=True)
