"""What a process gives up before it runs a model's program: limits, rights, files, system calls.

It runs inside the sandbox, so it imports little and calls the kernel itself. No library does
this well enough: ``pyseccomp`` needs libseccomp and has had no release since 2021, and the filter
needed here is a list of numbers.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import struct
import sys

_MIB = 2**20
_SIGKILL = 9  # importing the module signal would take 10 % of a start

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


def hide_memory() -> None:
    """Hide this process's memory and open files from all other processes of the same user."""
    _prctl(_PR_SET_DUMPABLE, 0)


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends."""
    _prctl(_PR_SET_PDEATHSIG, _SIGKILL)


def limit_resources(cpu_s: int, memory_mb: int, file_mb: int, threads: int | None) -> None:
    """Set limits that cannot be raised again.

    Parameters
    ----------
    cpu_s : int
        Processor time of all threads together, in seconds: SIGXCPU, and SIGKILL a second later.
    memory_mb : int
        Address space, in MiB.
    file_mb : int
        Largest file that can be written, in MiB.
    threads : int or None
        Number of threads; None if the kernel would also count those of the user's other
        processes.
    """
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    for kind, value in (
        (resource.RLIMIT_AS, memory_mb * _MIB),
        (resource.RLIMIT_FSIZE, file_mb * _MIB),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 256),
    ):
        resource.setrlimit(kind, (value, value))
    if threads is not None:
        resource.setrlimit(resource.RLIMIT_NPROC, (threads, threads))


def drop_capabilities() -> None:
    """Give up what root may do and an ordinary user may not."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    _check(_libc.capset(header, bytes(24)), "capset")


def gain_no_privileges() -> None:
    """Promise the kernel not to gain privileges, which filters and rules require."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def filter_system_calls(shares_files: bool) -> None:
    """Block what a program that computes something never needs.

    Blocked are new processes and other programs, signals to others, sockets, access to other
    processes, and namespaces. Threads remain, and so do sockets that are connected to each other,
    which asyncio needs.

    Parameters
    ----------
    shares_files : bool
        Whether the host's files are within reach. Then their permissions and times cannot be
        changed either, which no rule of Landlock covers.

    Raises
    ------
    OSError
        If the kernel has no filters, or the processor is neither x86-64 nor 64-bit ARM.
    """
    code = filter_program(shares_files)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer))
    _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, program)


# Each system call: its number on x86-64 and on 64-bit ARM, or None if it does not exist.
_REFUSED = {
    # new processes and programs
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    "setsid": (112, 157),
    "setpgid": (109, 154),
    # other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "kcmp": (312, 272),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "pidfd_getfd": (438, 438),
    "setpriority": (141, 140),
    "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118),
    "sched_setattr": (314, 274),
    "ioprio_set": (251, 30),
    "move_pages": (279, 239),
    "migrate_pages": (256, 238),
    # the network, and what outlives a process
    "socket": (41, 198),
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    # memory that no limit counts
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    # large or rarely used parts of the kernel
    "io_uring_setup": (425, 425),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "personality": (135, 92),
    "fanotify_init": (300, 262),
    "open_by_handle_at": (304, 265),
    # mounts and namespaces
    "mount": (165, 40),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "setns": (308, 268),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "mount_setattr": (442, 442),
}
_REFUSED_ON_SHARED_FILES = {
    "truncate": (76, 45),
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "lchown": (94, None),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "inotify_add_watch": (254, 27),
}
_CLONE, _CLONE3 = (56, 220), 435
_KILL, _TGKILL = (62, 129), (234, 131)
_PRLIMIT, _FCNTL, _IOCTL = (302, 261), (72, 25), (16, 29)
_SCHED_SETAFFINITY, _SOCKETPAIR, _PRCTL = (203, 122), (53, 199), (157, 167)

_CLONE_THREAD = 0x10000
# Commands that make the kernel send signals to any process: F_SETOWN, F_SETSIG, F_SETOWN_EX;
# FIOSETOWN, SIOCSPGRP; and TIOCSTI, which types into a terminal.
_SIGNALLING_FCNTL = (8, 10, 15)
_SIGNALLING_IOCTL = (0x8901, 0x8902, 0x5412)

_ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
# x32 calls are above this bit and would not match any number below.
_X32_BIT = 0x40000000

# Classic BPF, <linux/filter.h>: load a word, jump, return. Offsets are in seccomp_data.
_LOAD, _RETURN = 0x20, 0x06
_IF_EQUAL, _IF_AT_LEAST, _IF_ANY_BIT, _AND = 0x15, 0x35, 0x45, 0x54
_NUMBER, _ARCHITECTURE, _FIRST, _SECOND = 0, 4, 16, 24
_AF_UNIX, _SOCK_STREAM, _SOCK_TYPES = 1, 1, 0xF
_ALLOW, _KILL_PROCESS, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000


def filter_program(shares_files: bool) -> bytes:
    """Return the filter as classic BPF, for this process and this machine.

    Raises
    ------
    OSError
        If the system calls of this machine are not listed.
    """
    machine = os.uname().machine
    if machine not in _ARCHITECTURES or sys.byteorder != "little":
        raise OSError(errno.ENOSYS, f"no list of system calls for {machine}")
    audit, column = _ARCHITECTURES[machine]
    refuse = _step(_RETURN, _ERRNO | errno.EPERM)
    allow = _step(_RETURN, _ALLOW)
    code = _step(_LOAD, _ARCHITECTURE) + _step(_IF_EQUAL, audit, 1, 0)
    code += _step(_RETURN, _KILL_PROCESS) + _step(_LOAD, _NUMBER)
    code += _step(_IF_AT_LEAST, _X32_BIT, 0, 1) + refuse
    # The C library then uses clone, whose flags can be checked.
    code += _case(_CLONE3, _step(_RETURN, _ERRNO | errno.ENOSYS))
    refused = _REFUSED | (_REFUSED_ON_SHARED_FILES if shares_files else {})
    for numbers in refused.values():
        if (number := numbers[column]) is not None:
            code += _case(number, refuse)
    is_thread = _step(_LOAD, _FIRST) + _step(_IF_ANY_BIT, _CLONE_THREAD, 0, 1)
    code += _case(_CLONE[column], is_thread + allow + refuse)
    for target, own in (
        (_KILL, os.getpid()),
        (_TGKILL, os.getpid()),
        (_PRLIMIT, 0),
        (_SCHED_SETAFFINITY, 0),
    ):
        only_own = _step(_LOAD, _FIRST) + _step(_IF_EQUAL, own, 0, 1)
        code += _case(target[column], only_own + allow + refuse)
    # A socket of a pair that accepts datagrams could send them to any other socket.
    is_stream = _step(_LOAD, _FIRST) + _step(_IF_EQUAL, _AF_UNIX, 1, 0) + refuse
    is_stream += _step(_LOAD, _SECOND) + _step(_AND, _SOCK_TYPES)
    is_stream += _step(_IF_EQUAL, _SOCK_STREAM, 1, 0) + refuse
    code += _case(_SOCKETPAIR[column], is_stream + allow)
    # It ends with the process that started it, in any case.
    keeps_ending = _step(_LOAD, _FIRST) + _step(_IF_EQUAL, _PR_SET_PDEATHSIG, 0, 1)
    code += _case(_PRCTL[column], keeps_ending + refuse + allow)
    for call, commands in ((_FCNTL, _SIGNALLING_FCNTL), (_IOCTL, _SIGNALLING_IOCTL)):
        body = _step(_LOAD, _SECOND)
        for command in commands:
            body += _step(_IF_EQUAL, command, 0, 1) + refuse
        code += _case(call[column], body + allow)
    return code + allow


def _case(number: int, body: bytes) -> bytes:
    """Run `body` for one system call; `body` must end with a return."""
    return _step(_IF_EQUAL, number, 0, len(body) // 8) + body


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _prctl(option: int, value: int, pointer: bytes | None = None) -> None:
    none = ctypes.c_ulong(0)
    _check(
        _libc.prctl(option, ctypes.c_ulong(value), pointer or none, none, none),
        f"prctl({option})",
    )


def _check(result: int, what: str) -> int:
    """Return the result of a call to the C library; raise OSError if it is -1."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


# Landlock: the kernel's rules for files, https://docs.kernel.org/userspace-api/landlock.html. The
# package ``landlock`` has only pre-releases and does not support signals (version 6).
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_GET_VERSION = 1
_RULE_PATH_BENEATH = 1

# Versions 1 to 3: bits 0 to 14. For files: execute, write, read, truncate; the others for folders.
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _TRUNCATE = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14
_ALL = (1 << 15) - 1
_IOCTL_DEV = 1 << 15  # version 5
_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_TCP = 0b11  # version 4: bind and connect
_SCOPES = 0b11  # version 6: abstract sockets and signals

_LEAST_VERSION = 3


def landlock_version() -> int:
    """Return the kernel's version of Landlock, or 0 if it has none."""
    found: int = _libc.syscall(
        _CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_GET_VERSION)
    )
    return max(found, 0)


def restrict_files(readable: list[str], writable: list[str]) -> None:
    """Leave this process and its children only some files, and neither TCP nor signals to others.

    The caller has promised not to gain privileges. Names and sizes of other files, and whether they
    exist, remain visible, since Landlock does not cover them.

    Parameters
    ----------
    readable, writable : list of str
        Files, and folders with everything in them. What does not exist is skipped.

    Raises
    ------
    OSError
        If the kernel has no Landlock, or a version below 3, which lets files be emptied.
    """
    version = landlock_version()
    if version < _LEAST_VERSION:
        raise OSError(f"Landlock has version {version} here, {_LEAST_VERSION} is needed")
    handled = _ALL | (_IOCTL_DEV if version >= 5 else 0)
    rules = struct.pack(
        "=QQQ", handled, _TCP if version >= 4 else 0, _SCOPES if version >= 6 else 0
    )
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = _check(
        _libc.syscall(_CREATE_RULESET, rules, ctypes.c_size_t(size), ctypes.c_uint32(0)),
        "landlock_create_ruleset",
    )
    for paths, access in ((readable, _READ), (writable, _ALL)):
        for path in paths:
            _allow(ruleset, path, access)
    _check(_libc.syscall(_RESTRICT_SELF, ruleset, ctypes.c_uint32(0)), "landlock_restrict_self")
    os.close(ruleset)


def _allow(ruleset: int, path: str, access: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    if not os.path.isdir(path):  # noqa: PTH112 - pathlib would double the time of a start
        access &= _FILE
    rule = struct.pack("=Qi", access, descriptor)
    added = _libc.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, ctypes.c_uint32(0))
    _check(added, f"landlock_add_rule {path}")
    os.close(descriptor)
