"""`workers = auto` on machines and in containers of every make: /proc and /sys of our own."""

import pytest

from prefork.config import auto

GIB = 1 << 30

V2_MOUNT = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
V1_CPU = "33 25 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct"
V1_MEMORY = "34 25 0:30 / /sys/fs/cgroup/memory rw,nosuid shared:10 - cgroup cgroup rw,memory"
# docker with the host's cgroup names: the mount shows the container's group only
V1_INSIDE = "35 25 0:30 /docker/abc /sys/fs/cgroup/memory ro,nosuid master:10 - cgroup cgroup rw,memory"


def machine(root, *, memory=64 * GIB, groups="", mounts=(), **files):
    """Write what the kernel would show. files: paths under /sys/fs/cgroup, __ for a slash."""
    proc = root / "proc" / "self"
    proc.mkdir(parents=True)
    (root / "proc" / "meminfo").write_text(f"MemTotal:       {memory >> 10} kB\nMemFree:  1 kB\n")
    (proc / "cgroup").write_text(groups)
    (proc / "mountinfo").write_text("\n".join(("22 1 8:1 / / rw - ext4 /dev/sda1 rw", *mounts)) + "\n")
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name.replace("__", "/").replace("_dot_", ".").replace("_and_", ",")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(root)


def test_a_machine_of_its_own(tmp_path):
    root = machine(tmp_path)
    assert auto.workers("sync", root=root, affinity=4) == (
        9,
        "workers auto = 9: 2 x 4 CPUs + 1 (affinity 4, no smaller cgroup quota)",
    )
    assert auto.workers("threads", root=root, affinity=4)[0] == 4
    assert auto.workers("gevent", root=root, affinity=1) == (
        1,
        "workers auto = 1: 1 CPU (affinity 1, no smaller cgroup quota)",
    )


@pytest.mark.parametrize(
    ("quota", "cpus"),
    [
        ("max 100000", 8),
        ("50000 100000", 1),
        ("100000 100000", 1),
        ("150000 100000", 2),
        ("1600000 100000", 8),
    ],
)
def test_quota_v2(tmp_path, quota, cpus):
    root = machine(tmp_path, groups="0::/\n", mounts=[V2_MOUNT], cpu_dot_max=f"{quota}\n")
    assert auto.workers("threads", root=root, affinity=8)[0] == cpus


def test_the_smallest_limit_on_the_way_up_counts(tmp_path):
    root = machine(
        tmp_path,
        groups="0::/kubepods/pod1/app\n",
        mounts=[V2_MOUNT],
        kubepods__pod1__app__cpu_dot_max="400000 100000\n",
        kubepods__pod1__cpu_dot_max="200000 100000\n",
        kubepods__cpu_dot_max="max 100000\n",
        kubepods__pod1__memory_dot_max=f"{1 * GIB}\n",
        kubepods__memory_dot_max=f"{8 * GIB}\n",
    )
    count, text = auto.workers("sync", root=root, affinity=16)
    assert count == 5
    assert text == "workers auto = 5: 2 x 2 CPUs + 1 (affinity 16, cgroup quota 2)"


def test_memory_v2(tmp_path):
    root = machine(tmp_path, groups="0::/\n", mounts=[V2_MOUNT], memory_dot_max=f"{512 << 20}\n")
    count, text = auto.workers("sync", root=root, affinity=4)
    assert count == 4
    assert text == (
        "workers auto = 4: 2 x 4 CPUs + 1 (affinity 4, no smaller cgroup quota), "
        "but 512 MiB of memory (cgroup memory.max) at 128 MiB each"
    )


def test_there_is_always_one(tmp_path):
    root = machine(tmp_path, memory=32 << 20)
    assert auto.workers("sync", root=root, affinity=4)[0] == 1


def test_memory_of_the_machine(tmp_path):
    count, text = auto.workers("sync", root=machine(tmp_path, memory=256 << 20), affinity=4)
    assert count == 2
    assert "256 MiB of memory (the machine's)" in text


def test_v1(tmp_path):
    root = machine(
        tmp_path,
        groups="4:memory:/app\n3:cpu,cpuacct:/app\n0::/\n",
        mounts=[V1_CPU, V1_MEMORY],
        cpu_and_cpuacct__app__cpu_dot_cfs_quota_us="150000\n",
        cpu_and_cpuacct__app__cpu_dot_cfs_period_us="100000\n",
        cpu_and_cpuacct__cpu_dot_cfs_quota_us="-1\n",
        cpu_and_cpuacct__cpu_dot_cfs_period_us="100000\n",
        memory__app__memory_dot_limit_in_bytes=f"{GIB // 4}\n",
        memory__memory_dot_limit_in_bytes="9223372036854771712\n",
    )
    count, text = auto.workers("sync", root=root, affinity=8)
    assert count == 2
    assert "2 x 2 CPUs + 1 (affinity 8, cgroup quota 1.5)" in text
    assert "256 MiB of memory (cgroup memory.limit_in_bytes)" in text


def test_v1_inside_a_container_that_sees_the_hosts_names(tmp_path):
    root = machine(
        tmp_path,
        groups="4:memory:/docker/abc\n",
        mounts=[V1_INSIDE],
        memory__memory_dot_limit_in_bytes=f"{GIB // 2}\n",
    )
    assert auto.workers("sync", root=root, affinity=4)[0] == 4


def test_a_group_outside_of_the_mount(tmp_path):
    root = machine(tmp_path, groups="0::/../other\n", mounts=[V2_MOUNT], cpu_dot_max="100000 100000\n")
    assert auto.workers("threads", root=root, affinity=4)[0] == 1


@pytest.mark.parametrize("text", ["", "max\n", "x y\n", "100000 0\n", "\n\n\n"])
def test_unreadable_limits_are_none(tmp_path, text):
    root = machine(tmp_path, groups="0::/\n", mounts=[V2_MOUNT], cpu_dot_max=text, memory_dot_max=text)
    assert auto.workers("threads", root=root, affinity=3)[0] == 3


def test_no_proc_at_all(tmp_path):
    assert auto.workers("threads", root=str(tmp_path), affinity=3)[0] == 3


def test_this_machine():
    count, text = auto.workers("sync")
    assert count >= 1
    assert text.startswith(f"workers auto = {count}: ")
