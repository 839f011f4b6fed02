# Become a machine of its own. Run by machine.py as the first process of new namespaces:
#   machine.sh ROOT COMMAND...
# ROOT is an empty folder. The file system is this machine's, copied on write into memory: whatever is installed,
# changed or removed there is gone with the last process. The network is a loopback device and nothing else.
# SHARED (lines) names folders that are the same inside: written to by both sides. LENT (lines) names folders on other
# file systems, which overlayfs does not cross, or in what is made empty: they can be read inside.
set -eu
root=$1
shift

mount -t tmpfs -o mode=755 tmpfs "$root"
mkdir "$root/up" "$root/work" "$root/all"
mount -t overlay overlay -o "lowerdir=/,upperdir=$root/up,workdir=$root/work" "$root/all"
all=$root/all

mount -t proc proc "$all/proc"
# Devices of its own: what is done to their modes inside is not done to this machine's.
mount -t tmpfs -o mode=755,nosuid tmpfs "$all/dev"
while read -r name number; do
    mknod -m 666 "$all/dev/$name" c "${number%,*}" "${number#*,}"
done << END
null 1,3
zero 1,5
full 1,7
random 1,8
urandom 1,9
tty 5,0
END
mkdir "$all/dev/pts" "$all/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$all/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$all/dev/shm"
ln -s pts/ptmx "$all/dev/ptmx"
ln -s /proc/self/fd "$all/dev/fd"
ln -s /proc/self/fd/0 "$all/dev/stdin"
ln -s /proc/self/fd/1 "$all/dev/stdout"
ln -s /proc/self/fd/2 "$all/dev/stderr"
mount -t sysfs -o ro sysfs "$all/sys" 2>/dev/null || mount --rbind /sys "$all/sys"
mount -t tmpfs -o mode=755 tmpfs "$all/run"
mount -t tmpfs -o mode=755 tmpfs "$all/srv"
mkdir -p "$all/run/lock" "$all/run/haproxy" "$all/run/apache2"
printf '%s\n' "$LENT" "$SHARED" | while read -r folder; do
    [ -n "$folder" ] || continue
    mkdir -p "$all$folder"
    mount --bind "$folder" "$all$folder"
done
printf '%s\n' "$LENT" | while read -r folder; do
    [ -n "$folder" ] || continue
    mount -o remount,bind,ro "$all$folder"
done
printf '%s\n' "$OPENED" | while read -r folder; do
    [ -z "$folder" ] || chmod o+x "$all$folder"
done
if [ -n "${CGROUP:-}" ]; then
    mount -t tmpfs -o mode=755 tmpfs "$all/sys/fs/cgroup"
    mount -t cgroup2 none "$all/sys/fs/cgroup"
fi

ip link set lo up
hostname machine
cd "$all"
pivot_root . mnt
umount -l /mnt
unset SHARED LENT OPENED CGROUP
cd /
exec "$@"
