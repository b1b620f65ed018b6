"""List where the problem sets come from: hub id, pinned revision, local files, row counts, hashes, licences.

Figures marked "folder" were computed from the local files and are verified at every load. A hub load is identified by
its pinned git revision and checked by row count; whether its content equals the folder's is *reported*
(`sources.describe`), not required.

Usage: ``BENCHMARKS["math500"].hub_id, SOURCES["deepscaler"].folder_rows``
"""

from __future__ import annotations

from dataclasses import dataclass

AOPS_TEXT = "text © Mathematical Association of America"


@dataclass(frozen=True)
class SourceSpec:
    """Hold one problem set.

    Attributes:
        name: the name used in configurations.
        hub_id, configs, split, revision: what `datasets.load_dataset` is given; no configs means the default one.
        hub_rows: rows of that split, all configs together, before any selection.
        n_rows: problems of the set when it comes from the hub.
        folder_files, folder_rows: the local files, in order, and the problems they hold.
        folder_sha256: `sources.content_hash` of the local files' problems in file order.
        folder_set_sha256: the same, independent of order; a hub load is compared with this one.
        integer_answers: answers are integers that arrive as floats or with leading zeros.
        role: "benchmark" (evaluated on, never trained on) or "training".
        licence, citation: of the data set.
    """

    name: str
    hub_id: str
    revision: str
    split: str
    hub_rows: int
    n_rows: int
    folder_files: tuple[str, ...]
    folder_rows: int
    folder_sha256: str
    folder_set_sha256: str
    licence: str
    citation: str
    configs: tuple[str, ...] = ()
    integer_answers: bool = False
    role: str = "benchmark"


_SPECS = (
    SourceSpec(
        name="math500", hub_id="HuggingFaceH4/MATH-500", revision="6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be",
        split="test", hub_rows=500, n_rows=500, folder_files=("math500.jsonl",), folder_rows=500,
        folder_sha256="bc8e08d11bb3a32f542e5ed3334a738bf18891b9ac0c550982523db14742335f",
        folder_set_sha256="db657b4eb43f0ece2bce44a32e34b2d895de9d7b98587db1741f8a2880b847df", licence="MIT",
        citation="Hendrycks et al. 2021 (MATH); Lightman et al. 2023 (the 500 problems)",
    ),
    SourceSpec(
        name="amc", hub_id="AI-MO/aimo-validation-amc", revision="69d78a4a2c840e82d69af6bc742bda09005f6316",
        split="train", hub_rows=83, n_rows=83, folder_files=("amc23.jsonl",), folder_rows=83,
        folder_sha256="a7d3595d4c40ae22ab037ce4178c2992ec0e5577fed7ad540f71aeeaaede4016",
        folder_set_sha256="bf616dadb693514ad9cd671745d73bf2c67d847f0e1547a3fb5d7b156c3c6793",
        licence=f"Apache-2.0; {AOPS_TEXT}", citation="AI-MO, AMC 12 of 2022 and 2023; the paper calls all 83 AMC",
        integer_answers=True,
    ),
    SourceSpec(
        name="amc40", hub_id="AI-MO/aimo-validation-amc", revision="69d78a4a2c840e82d69af6bc742bda09005f6316",
        split="train", hub_rows=83, n_rows=40, folder_files=("amc23.jsonl",), folder_rows=40,
        folder_sha256="28bd2d248edd46b6635b735c93c73de629320862f7961f8644302be47c6a6bd2",
        folder_set_sha256="3c8fe7344289768661b05a366a4f43c0bb2c30483f1cb957a6b006551a0b7de7",
        licence=f"Apache-2.0; {AOPS_TEXT}",
        citation="the 40 problems of AMC 12 2023 that other projects call AMC23 (math-ai/amc23)", integer_answers=True,
    ),
    SourceSpec(
        name="aime24", hub_id="AI-MO/aimo-validation-aime", revision="13f9e12f613e720c2a2b2f345dd04b998a29494d",
        split="train", hub_rows=90, n_rows=30, folder_files=("aime24.jsonl",), folder_rows=30,
        folder_sha256="811ba2b48c2cb5537f2e4ff32eb001cb6747112a5377331c196b2b8d5d4889c5",
        folder_set_sha256="6e67b28927a5e428604a0643433aa83e03ad276e660a788abdedb0b57afa9482",
        licence=f"Apache-2.0; {AOPS_TEXT}", citation="AI-MO, AIME of 2022 to 2024; here the 30 problems of 2024",
        integer_answers=True,
    ),
    SourceSpec(
        name="aime25", hub_id="opencompass/AIME2025", revision="a6ad95f611d72cf628a80b58bd0432ef6638f958", split="test",
        configs=("AIME2025-I", "AIME2025-II"), hub_rows=30, n_rows=30, folder_files=("aime25.jsonl",), folder_rows=30,
        folder_sha256="a3da4ac918b797debc0c935c0e3d985a2bc9a197af8f5408ae75cdd408d0425e",
        folder_set_sha256="eb90fd618d75e3e0ead3f490ccb1bd989e5cbc837e12a5d09f4d0aeeb6f64ac5",
        licence=f"MIT; {AOPS_TEXT}", citation="OpenCompass, AIME 2025 I and II", integer_answers=True,
    ),
    SourceSpec(  # the folder has seven rows fewer than the hub: the hashes of the two cannot agree
        name="deepscaler", hub_id="agentica-org/DeepScaleR-Preview-Dataset",
        revision="b6ae8c60f5c1f2b594e2140b91c49c9ad0949e29", split="train", hub_rows=40315, n_rows=40315,
        folder_files=tuple(f"deepscaler_level{level}.jsonl" for level in range(1, 6)), folder_rows=40308,
        folder_sha256="da89e2027db2a2f39de436da856d4974a7248eb8406b809d1829acf04f926e61",
        folder_set_sha256="3a1ca58c734f179af1200c5b1e542b328b0acf91eaaa3335bc4981ffa100038b", licence="MIT",
        citation="Luo et al. 2025 (DeepScaleR); the paper's training problems", role="training",
    ),
)  # fmt: skip

SOURCES: dict[str, SourceSpec] = {spec.name: spec for spec in _SPECS}
BENCHMARKS: dict[str, SourceSpec] = {name: spec for name, spec in SOURCES.items() if spec.role == "benchmark"}
