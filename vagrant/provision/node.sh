#!/bin/bash
# Make this machine a node: the program from the checkout, the shared disk, keepalived, the service group `alpha`.
# Runs as root in the guest, may run again at any time. The variables come from the Vagrantfile.
set -eu
source_tree=/opt/understudy-source
files=$source_tree/vagrant/provision/files

packages() {
    # The box from vagrant/box has all of it.
    local missing=() package
    for package in python3-venv keepalived nftables psmisc e2fsprogs; do
        dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
    done
    if [ "${#missing[@]}" -gt 0 ]; then
        apt-get update -q
        DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${missing[@]}"
    fi
}

program() {
    # Wheels of the host, if there are any, stand in for the internet.
    local pip=/opt/understudy/bin/pip index=()
    [ -x "$pip" ] || python3 -m venv /opt/understudy
    [ ! -e /wheels/requirements.txt ] || index=(--no-index --find-links /wheels)
    export PIP_DISABLE_PIP_VERSION_CHECK=1
    if ! /opt/understudy/bin/python -c 'import click, lmdb, prometheus_client, structlog, tabulate, xdrlib3' 2>/dev/null
    then
        "$pip" install --quiet "${index[@]}" 'setuptools>=64' wheel
        "$pip" install --quiet "${index[@]}" --no-build-isolation "$source_tree"
    else
        "$pip" install --quiet --no-index --no-deps --no-build-isolation --force-reinstall "$source_tree"
    fi
    ln -sf /opt/understudy/bin/understudy /usr/local/bin/understudy
}

place() {
    # place MODE TEMPLATE TARGET: a file with its @WORDS@ replaced by variables.
    mkdir -p "$(dirname "$3")"
    sed -e "s|@NODE@|$NODE|g" -e "s|@ADDRESS@|$ADDRESS|g" -e "s|@PEER@|$PEER|g" \
        -e "s|@PEER_ADDRESS@|$PEER_ADDRESS|g" -e "s|@SERVICE_ADDRESS@|$SERVICE_ADDRESS|g" \
        -e "s|@HOST_ADDRESS@|$HOST_ADDRESS|g" -e "s|@FENCE_PORT@|$FENCE_PORT|g" -e "s|@INTERFACE@|$interface|g" \
        -e "s|@PAUSE_MAX_S@|$PAUSE_MAX_S|g" -e "s|@HOOK_TIME_S@|$HOOK_TIME_S|g" "$files/$2" >"$3.new"
    chmod "$1" "$3.new"
    mv "$3.new" "$3"
}

shared_disk() {
    # By its serial number where the provider can set one, else the one disk of just that size.
    local disk=/dev/disk/by-id/virtio-$DISK_SERIAL
    if [ ! -e "$disk" ]; then
        disk=$(lsblk --noheadings --bytes --nodeps --output PATH,SIZE |
            awk -v size=$((DISK_SIZE_MIB * 1048576)) '$2 == size { print $1 }')
        [ "$(wc -w <<<"$disk")" = 1 ] || { echo "the shared disk was not found: '$disk'" >&2; exit 1; }
    fi
    echo "$disk" >/etc/understudy/disk
    mkdir -p /srv/nfs/alpha
    # No multi-mount protection: it costs 11 s at each mount, and it is no fence (README.md).
    if [ "$NODE" = nfs-a ] && ! blkid --probe "$disk" >/dev/null; then
        mkfs.ext4 -q -L understudy -O ^mmp -E lazy_itable_init=0,lazy_journal_init=0 "$disk"
        mount "$disk" /srv/nfs/alpha
        mkdir -p /srv/nfs/alpha/work
        install -d -m 700 /srv/nfs/alpha/state
        umount /srv/nfs/alpha
    fi
}

settle() {
    # Until this node serves, or stands by for one that does: a node that only just looks for its part would power
    # off the other one, which Vagrant is about to boot.
    for _ in $(seq 60); do
        case $(understudy status --control /run/understudy/alpha.sock --exit-code >/dev/null 2>&1; echo $?) in
            0) return ;;
            10) if timeout 1 bash -c "exec 3<>/dev/tcp/$SERVICE_ADDRESS/2049" 2>/dev/null; then return; fi ;;
        esac
        sleep 1
    done
    echo "nobody serves: see journalctl -u understudy@alpha -u keepalived" >&2
    exit 1
}

packages
interface=$(ip -o -4 address show to "$ADDRESS" | awk '{ print $2; exit }')
install -d -m 755 /etc/understudy /var/log/understudy
umask 077
echo "$TOKEN" >/etc/understudy/token
umask 022
program
place 755 fence-peer /usr/local/sbin/fence-peer
place 755 call-peer /usr/local/sbin/call-peer
place 755 answer-peer /usr/local/sbin/answer-peer
place 755 mount-store /usr/local/sbin/mount-store
place 755 unmount-store /usr/local/sbin/unmount-store
place 644 alpha.toml /etc/understudy/alpha.toml
place 644 keepalived.conf /etc/keepalived/keepalived.conf
# The unit is the one that docs/examples offers to everybody.
install -m 644 "$source_tree/docs/examples/understudy@.service" /etc/systemd/system/understudy@.service
place 644 unit.conf /etc/systemd/system/understudy@.service.d/vagrant.conf
place 644 answer-peer.service /etc/systemd/system/answer-peer.service
shared_disk
systemctl daemon-reload
systemctl enable --quiet answer-peer understudy@alpha keepalived
systemctl restart answer-peer
# A daemon that serves lets go in good order, and the other node takes over; keepalived must be there to say so.
systemctl restart understudy@alpha
if systemctl --quiet is-active keepalived; then systemctl reload keepalived; else systemctl start keepalived; fi
settle
