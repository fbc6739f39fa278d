#!/bin/sh
# First process of a guest. It sees the host's files read-only, makes its own writable places under /run,
# loads the NFS client, and hands over to guest_agent.py. Nothing here may write outside /run.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/run/home TMPDIR=/run/tmp LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mountpoint -q /dev || mount -t devtmpfs devtmpfs /dev
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/code /run/results /run/nfs /run/home /run/tmp /run/kmod/lib/modules /run/rpc_pipefs
chmod 1777 /run/tmp /run/home
mount -t hostfs -o ro,"$LAB_CODE" code /run/code
mount -t hostfs -o "$LAB_RESULTS" results /run/results

# The kernel's modules live outside /lib/modules, and the host's root cannot be written to.
ln -s "/usr/lib/uml/modules/$(uname -r)" "/run/kmod/lib/modules/$(uname -r)"
printf '#!/bin/sh\nPATH=/usr/sbin:/usr/bin:/sbin:/bin exec modprobe -d /run/kmod "$@"\n' >/run/kmod/modprobe
chmod 755 /run/kmod/modprobe
echo /run/kmod/modprobe >/proc/sys/kernel/modprobe
/run/kmod/modprobe -a sunrpc nfs nfsv4

hostname "$LAB_NAME"
ip link set lo up
ip link set vec0 address "$LAB_MAC" up
ip address add "$LAB_ADDRESS" dev vec0

exec "$LAB_PYTHON" -I -S /run/code/guest_agent.py /dev/tty1
