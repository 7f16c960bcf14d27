"""The list of known files, as data.

Names, sizes and hashes are those that the Hugging Face Hub shows on each file's page, or in the commit that stored it.
Where no such page was seen (v2_lora_ZoomOut and TiltDown, SparseCtrl's scribble, Lightning's 1, 2 and 8 steps), two
copies of the file in other repositories agree. Sizes that pages round are round here too: a download is held against
the size that the hub says then.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Literal

FileKind = Literal["motion-module", "motion-lora", "domain-adapter", "lora", "sparsectrl"]
"""Names of `animatediff_ext.formats.kind`."""

TITLES: dict[FileKind, str] = {
    "motion-module": "Motion modules",
    "motion-lora": "Motion LoRAs",
    "domain-adapter": "Domain adapters",
    "lora": "LoRAs that a motion module needs",
    "sparsectrl": "SparseCtrl",
}
"""In the order of the list."""


@dataclass(frozen=True, kw_only=True)
class KnownFile:
    repo: str
    """On the Hugging Face Hub."""
    path: str
    """In the repository, with /."""
    kind: FileKind
    family: str
    """That of the motion module, or of the one that the file goes with: a name of `animatediff_ext.motion.FAMILIES`."""
    base: Literal["SD 1.5", "SDXL"] = "SD 1.5"
    size_bytes: int
    sha256: str | None
    """None where it is not known: then only the hub can say what is right."""
    use: str
    """What it is for."""

    @property
    def file_name(self) -> str:
        return PurePosixPath(self.path).name

    @property
    def name(self) -> str:
        """What users call it: the file's name without its ending."""
        return PurePosixPath(self.path).stem

    @property
    def licence(self) -> str:
        return LICENCES[self.repo]


OFFICIAL = "guoyww/animatediff"
HALVED = "conrevo/AnimateDiff-A1111"
LCM = "wangfuyun/AnimateLCM"
LIGHTNING = "ByteDance/AnimateDiff-Lightning"
HOTSHOT = "hotshotco/Hotshot-XL"

LICENCES = {
    OFFICIAL: "Apache 2.0",
    HALVED: "that of the originals",
    LCM: "see its page",
    LIGHTNING: "CreativeML Open RAIL-M",
    HOTSHOT: "CreativeML Open RAIL++-M",
}
"""As the repositories' pages name them; two name none."""


def _moves() -> Iterable[KnownFile]:
    for move, sha256 in (
        ("ZoomIn", "70ce8b9057b173b9249c48aca5d66c8aa1d8aaa040fda394e50e37f3e278195e"),
        ("ZoomOut", "4172fb2d36410ef638ae0e29d604b66c11ee44b94db9c7cc5ee34d7f865c55d9"),
        ("PanLeft", "ed79025f8bea018c8925f43b6304a27e462335b6ec5e6f8a222c2726153844b3"),
        ("PanRight", "f4eb9154623c628c76dbd83109f125617c985490fec36ddca5464eb61ac7f6d5"),
        ("TiltUp", "c0ee2f181fc69d7fe26e013ad5cfea11f25cb9f5e8fded3c9942b61803cd6c3d"),
        ("TiltDown", "09e4d5448aba4ea51b3bcd4b5d2b058ed4b47bb72d94d8c05a3ccce3368db6d9"),
        ("RollingClockwise", "361b1af8500d7fd09c2f884fac5dc0397a4323bae8fab5233443de5383d13630"),
        ("RollingAnticlockwise", "7ae6cbc81044895243bba9a64df9666db763a52acfd8e496c490af84e812748a"),
    ):
        yield KnownFile(
            repo=OFFICIAL,
            path=f"v2_lora_{move}.ckpt",
            kind="motion-lora",
            family="v2",
            size_bytes=77_474_499,
            sha256=sha256,
            use=f"camera move {move}",
        )


def _lightning() -> Iterable[KnownFile]:
    for steps, sha256 in (
        (8, "5173ea8209053dd5de9b973baefac1801fbe7a433d07fa0122664121751885cf"),
        (4, "aeb66ae8ff4a868d31379c3bde3e5e7e510a4d4b565a06ee4f1297e93a561dc5"),
        (2, "29b4879520056657b897f48821760285b3eef371576e80c86c2ef1fdf95f6c1d"),
        (1, "5f45da3a6ffa5edbc868f577a875a0e0d6cdc6f8048dbbd17a13bc93ccf34393"),
    ):
        yield KnownFile(
            repo=LIGHTNING,
            path=f"animatediff_lightning_{steps}step_comfyui.safetensors",
            kind="motion-module",
            family="lightning",
            size_bytes=908_929_664,
            sha256=sha256,
            use=f"a video in {steps} step{'s' if steps > 1 else ', for research'}",
        )


KNOWN: tuple[KnownFile, ...] = (
    KnownFile(
        repo=HALVED,
        path="motion_module/mm_sd15_v3.safetensors",
        kind="motion-module",
        family="v3",
        size_bytes=837_000_000,
        sha256="a8ca0eadb18c6ad6652bca344a458f31780901a87f765bf95a81ef9c5be55f29",
        use="the one to begin with: v3_sd15_mm in float16",
    ),
    KnownFile(
        repo=OFFICIAL,
        path="v3_sd15_mm.ckpt",
        kind="motion-module",
        family="v3",
        size_bytes=1_670_000_000,
        sha256="2412711886f61091846f53204aabc38aa6e09356d62a9808abe4daa802168343",
        use="v3, as published",
    ),
    KnownFile(
        repo=HALVED,
        path="motion_module/mm_sd15_v2.safetensors",
        kind="motion-module",
        family="v2",
        size_bytes=909_000_000,
        sha256="d3976a7dcd11d4f5202d5360c6f1996fc669d6114c530afb3dca4769cc6dd2b2",
        use="for motion LoRAs: mm_sd_v15_v2 in float16",
    ),
    KnownFile(
        repo=OFFICIAL,
        path="mm_sd_v15_v2.ckpt",
        kind="motion-module",
        family="v2",
        size_bytes=1_817_888_431,
        sha256="69ed0f5fef82b110aca51bcab73b21104242bc65d6ab4b8b2a2a94d31cad1bf0",
        use="for motion LoRAs: v2, as published",
    ),
    KnownFile(
        repo=HALVED,
        path="motion_module/mm_sd15_AnimateLCM.safetensors",
        kind="motion-module",
        family="animatelcm",
        size_bytes=906_505_488,
        sha256="f3c5eb97c65d35362e713416e402d54174ccaa0f531f45ad80006e48199bc77d",
        use="a video in 4 to 8 steps: AnimateLCM_sd15_t2v in float16",
    ),
    KnownFile(
        repo=LCM,
        path="AnimateLCM_sd15_t2v.ckpt",
        kind="motion-module",
        family="animatelcm",
        size_bytes=1_813_041_929,
        sha256="b46c3de62e5696af72c4056e3cdcbea12fbc19581c0aad7b6f2b027851148f5f",
        use="a video in 4 to 8 steps: AnimateLCM, as published",
    ),
    *_lightning(),
    KnownFile(
        repo=HALVED,
        path="motion_module/mm_sd15_v1.safetensors",
        kind="motion-module",
        family="v1",
        size_bytes=836_000_000,
        sha256="cb1858cebf3b0d83e056c7413fc9c43702f24f78c295a4cde1a8ba97f299f7df",
        use="for old videos: mm_sd_v15 in float16",
    ),
    KnownFile(
        repo=OFFICIAL,
        path="mm_sd_v15.ckpt",
        kind="motion-module",
        family="v1",
        size_bytes=1_672_133_921,
        sha256="cf16ea656cb16124990c8e2c70a29c793f9841f3a2223073fac8bd89ebd9b69a",
        use="for old videos: v1 for SD 1.5, as published",
    ),
    KnownFile(
        repo=HALVED,
        path="motion_module/mm_sd14_v1.safetensors",
        kind="motion-module",
        family="v1",
        size_bytes=836_000_000,
        sha256="dc16214feab8b0d8b9e7b05f5a4d9c5e2648601e9c807c51b1b0dc7478879535",
        use="for old videos: mm_sd_v14 in float16",
    ),
    KnownFile(
        repo=OFFICIAL,
        path="mm_sd_v14.ckpt",
        kind="motion-module",
        family="v1",
        size_bytes=1_670_000_000,
        sha256="aa7fd8a200a89031edd84487e2a757c5315460eca528fa70d4b3885c399bffd5",
        use="for old videos: v1 for SD 1.4, as published",
    ),
    KnownFile(
        repo=HOTSHOT,
        path="hsxl_temporal_layers.f16.safetensors",
        kind="motion-module",
        family="hotshot-xl",
        base="SDXL",
        size_bytes=475_000_000,
        sha256="b46ce6b4ec297b21e508b8888135f65b5a07aa76d755cc086dc5ee804064bb1c",
        use="SDXL, 8 frames in sizes around 512 x 512",
    ),
    KnownFile(
        repo=HALVED,
        path="motion_module/mm_sdxl_hs.safetensors",
        kind="motion-module",
        family="hotshot-xl",
        base="SDXL",
        size_bytes=475_000_000,
        sha256="a8345a99396e5be93e0f90ace4a78ec0bd85d2d7cf63e2aae747fe64288aab7b",
        use="SDXL: the same under the name of old infotexts",
    ),
    KnownFile(
        repo=HALVED,
        path="motion_module/mm_sdxl_v10_beta.safetensors",
        kind="motion-module",
        family="sdxl-beta",
        base="SDXL",
        size_bytes=475_000_000,
        sha256="deda6b381d44c3e60d410432fb5be4d7147460948e0edb55a7d5997804e5f6c3",
        use="SDXL, 16 frames in sizes around 1024 x 1024, in float16",
    ),
    KnownFile(
        repo=OFFICIAL,
        path="mm_sdxl_v10_beta.ckpt",
        kind="motion-module",
        family="sdxl-beta",
        base="SDXL",
        size_bytes=950_143_538,
        sha256="fa4950a062e892fca50d4c441fcd6130d1ad68a621a0404d155be17580072978",
        use="SDXL, 16 frames in sizes around 1024 x 1024, as published",
    ),
    *_moves(),
    KnownFile(
        repo=OFFICIAL,
        path="v3_sd15_adapter.ckpt",
        kind="domain-adapter",
        family="v3",
        size_bytes=102_000_000,
        sha256="fd2d8e26480f6ab013c1e6af86fdf1dedbb1ed5baf850ccd5f365f39d6c3472c",
        use="optional: pulls frames towards the look of v3's videos",
    ),
    KnownFile(
        repo=LCM,
        path="AnimateLCM_sd15_t2v_lora.safetensors",
        kind="lora",
        family="animatelcm",
        size_bytes=134_621_556,
        sha256="8f90d840e075ff588a58e22c6586e2ae9a6f7922996ee6649a7f01072333afe4",
        use="goes with AnimateLCM, at 0.8",
    ),
    KnownFile(
        repo=HALVED,
        path="control/mm_sd15_v3_sparsectrl_rgb.safetensors",
        kind="sparsectrl",
        family="v3",
        size_bytes=994_000_000,
        sha256="2d07d75bd0395fd419477395305b34d4cd23b5d3e7ad5896d73b7fdfe49594d2",
        use="images for chosen frames to match, for ControlNet, in float16",
    ),
    KnownFile(
        repo=OFFICIAL,
        path="v3_sd15_sparsectrl_rgb.ckpt",
        kind="sparsectrl",
        family="v3",
        size_bytes=1_988_040_333,
        sha256="c93f27a3cd15edf99bbddf4522509f2e831f515cc7db9c820d955037ddafbe45",
        use="images for chosen frames to match, for ControlNet, as published",
    ),
    KnownFile(
        repo=HALVED,
        path="control/mm_sd15_v3_sparsectrl_scribble.safetensors",
        kind="sparsectrl",
        family="v3",
        size_bytes=996_000_000,
        sha256="8e6451a0f0d1430684e6b895ba13adf147946e553ad568038a4621dfaca1d52b",
        use="sketches for chosen frames to follow, for ControlNet, in float16",
    ),
    KnownFile(
        repo=OFFICIAL,
        path="v3_sd15_sparsectrl_scribble.ckpt",
        kind="sparsectrl",
        family="v3",
        size_bytes=1_992_335_697,
        sha256="148399d3267e104bee1b1171100af0ad7e125c4f99aacada21342d778eaf3896",
        use="sketches for chosen frames to follow, for ControlNet, as published",
    ),
)


class UnknownNameError(ValueError):
    """One sentence."""


def named(asked: str) -> list[KnownFile]:
    """The files that a user means: by name, with or without the ending, or by a pattern such as ``v2_lora_*``.

    Raises `UnknownNameError` where there is none, or where a name without an ending could be two files.
    """
    wanted = asked.lower()
    found = [file for file in KNOWN if wanted in (file.file_name.lower(), file.name.lower())]
    if len(found) > 1:
        raise UnknownNameError(
            f"{asked!r} could be {' or '.join(file.file_name for file in found)}: give the name with its ending."
        )
    found = found or [file for file in KNOWN if fnmatchcase(file.file_name.lower(), wanted)]
    if not found:
        raise UnknownNameError(f"There is no {asked!r} in the list; there are {', '.join(f.file_name for f in KNOWN)}.")
    return found


def known_by_file_name(file_name: str) -> KnownFile | None:
    return next((file for file in KNOWN if file.file_name == file_name), None)


def readable_size(num_bytes: int) -> str:
    """As the hub shows it: 1.67 GB, 837 MB; the units are powers of ten."""
    unit, name = (1e9, "GB") if num_bytes >= 1e9 else (1e6, "MB")
    return f"{num_bytes / unit:.3g} {name}"
