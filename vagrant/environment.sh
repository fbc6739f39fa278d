# Where everything lies that does not belong into the checkout; sourced by the other scripts.
# shellcheck shell=sh
: "${UNDERSTUDY_VAGRANT_DIR:=${XDG_CACHE_HOME:-$HOME/.cache}/understudy/vagrant}"
export UNDERSTUDY_VAGRANT_DIR
# The machines' own records, keys and boxes: away from the checkout, and from other uses of vagrant.
export VAGRANT_DOTFILE_PATH="$UNDERSTUDY_VAGRANT_DIR/machines"
export VAGRANT_HOME="$UNDERSTUDY_VAGRANT_DIR/home"
export VAGRANT_CHECKPOINT_DISABLE=1 VAGRANT_NO_PARALLEL=1
mkdir -p "$UNDERSTUDY_VAGRANT_DIR" "$VAGRANT_DOTFILE_PATH" "$VAGRANT_HOME"
