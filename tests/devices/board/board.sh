#!/usr/bin/env bash
# A Linux board on this host, for tests: a real sshd on loopback that runs as an ordinary user, with little storage.
# Start it in a mount namespace of its own; the settings are variables.
#   BOARD_FOLDER  holds sshd_config and empty folders `home`, `python`, `site` and `project`   BOARD_USER  its user's name
#   PYTHON, SITE, PROJECT  what is seen in the last three, so that the board can stand in for a Mac with a Python
set -euo pipefail
mount -t tmpfs -o size=64m,mode=700 home "$BOARD_FOLDER/home"
look_in() {
  mount --bind "$1" "$2"
  mount -o remount,bind,ro "$2"
}
show() {
  look_in "$PYTHON" "$BOARD_FOLDER/python"
  look_in "$SITE" "$BOARD_FOLDER/site"
  look_in "$PROJECT" "$BOARD_FOLDER/project"
}
if [ "$(id -u)" != 0 ]; then
  show
  exec /usr/sbin/sshd -D -e -f "$BOARD_FOLDER/sshd_config"
fi
echo "$BOARD_USER:x:1000:1000::$BOARD_FOLDER/home:/bin/sh" > "$BOARD_FOLDER/passwd"
mount --bind "$BOARD_FOLDER/passwd" /etc/passwd
chown -R 1000:1000 "$BOARD_FOLDER" "$BOARD_FOLDER/home"
show # only now: what is shown keeps its owner, and nobody can write to it
exec setpriv --reuid 1000 --regid 1000 --clear-groups /usr/sbin/sshd -D -e -f "$BOARD_FOLDER/sshd_config"
