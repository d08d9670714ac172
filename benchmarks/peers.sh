#!/usr/bin/env bash
# Makes the peers' environments, .peers/<name>/, apart from ours: a peer must never decide what we install.
#   benchmarks/peers.sh           makes what is missing, then imports every peer
#   benchmarks/peers.sh --check   only imports every peer
# Idempotent: an environment whose list of packages has not changed since it was made is left as it is.
# Change a version here and the environment is made again from nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || command -v python3.11 || command -v python3)}

# make NAME PACKAGE...
make() {
  local name=$1 home=.peers/$1; shift
  local wanted; wanted=$(printf '%s\n' "$@"; grep -v '^#' constraints.txt; "$python" -V)
  if [ "$(cat "$home/made" 2>/dev/null)" = "$wanted" ]; then return; fi
  echo "peers: making $home ($*)"
  rm -rf "$home"
  "$python" -m venv "$home"
  # what is named here is not held to our own version of it
  grep -vE "^($(printf '%s\n' "$@" | sed 's/==.*//' | paste -sd '|'))==" constraints.txt > "$home/constraints.txt"
  "$home/bin/python" -m pip install --quiet --disable-pip-version-check -c "$home/constraints.txt" "$@"
  echo "$wanted" > "$home/made"
}

# check NAME CODE
check() { KERAS_BACKEND=${KERAS_BACKEND:-torch} ".peers/$1/bin/python" -W ignore -c "$2"; }

if [ "${1:-}" != --check ]; then
  # No torchvision: with it beside torch 2.13, `import lightning` fails (operator torchvision::nms does not exist).
  make torch torch==2.13.0 lightning==2.6.6 skorch==1.4.0 keras==3.15.1
  make jax jax==0.10.2 optax==0.2.8 keras==3.15.1
  make transformers torch==2.13.0 transformers==5.23.0 accelerate==1.15.0
  make updates torch==2.13.0 pytorch-optimizer==4.1.0 schedulefree==1.4.1 prodigyopt==1.1.2 torch-optimi==0.3.3 packaging==26.4
  make matrix torch==2.13.0 pytorch_optimizer==4.1.0 heavyball==3.2.1
  make augment torch==2.14.1 torchvision==0.29.1 timm==1.0.31 kornia==0.9.0
  make vision torch==2.14.1 torchvision==0.29.1 timm==1.0.31 fastai==2.8.12 ultralytics==8.4.190 keras==3.15.1
  make optimise scipy==1.17.1 cma==4.5.0 nevergrad==1.0.12
fi
check torch 'import torch; print("torch", torch.__version__)'
check torch 'import lightning; print("lightning", lightning.__version__)'
check torch 'import skorch; print("skorch", skorch.__version__)'
check torch 'import keras; print("keras", keras.__version__, "on", keras.backend.backend())'
KERAS_BACKEND=jax check jax 'import jax, optax, keras; print("jax", jax.__version__, "optax", optax.__version__, "keras on", keras.backend.backend())'
check transformers 'from transformers import Trainer, __version__; print("transformers", __version__)'
check matrix 'import heavyball, pytorch_optimizer; print("heavyball, pytorch_optimizer")'
check updates 'import optimi, prodigyopt, pytorch_optimizer, schedulefree; print("pytorch_optimizer, schedulefree, prodigyopt, optimi")'
check augment 'import kornia, timm, torchvision; print("torchvision", torchvision.__version__, "timm", timm.__version__, "kornia", kornia.__version__)'
check vision 'import fastai, timm, ultralytics; print("fastai", fastai.__version__, "timm", timm.__version__, "ultralytics", ultralytics.__version__)'
check optimise 'import scipy, cma; print("scipy", scipy.__version__, "cma", cma.__version__)'
check optimise 'import nevergrad; print("nevergrad", nevergrad.__version__)'
