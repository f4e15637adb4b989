"""The recipe section that selects the text to learn from."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, field_validator, model_validator

from constellation.curricula.corpus import FILE_BYTES_MAX, ReadLimits
from constellation.wire.kernel_names import KERNEL_NAMES, is_kernel_name
from training.recipe_running import Section, Share


class CorpusSection(Section):
    """Which text to learn from."""

    paths: tuple[Path, ...] = Field(
        default=(),
        description="Folders or files of text, relative to where the command runs, or to the home "
        "folder after `~`; a sub-folder or file names a domain. Empty: the starter corpus.",
    )
    text_column: str | None = Field(
        default=None,
        min_length=1,
        description="Column of tables (.csv, .tsv, .parquet) that holds the texts, a row each; "
        'left out: .csv and .tsv are plain text, and .parquet has a column "text".',
    )
    domain_bytes_max: int | None = Field(
        default=None, ge=1, description="Bytes kept per domain; left out: all."
    )
    discover_domains: int | None = Field(
        default=None,
        ge=2,
        description="Group the text into so many domains by its basins, whatever folders say; "
        "left out: folders and files name the domains.",
    )
    merge: Mapping[str, tuple[str, ...]] = Field(
        default={},
        description="New domain -> domains of the text that become it; those that are not named "
        "are left out. Empty: every domain stays what it is.",
    )
    skips_max: int = Field(
        default=100, ge=0, description="Unreadable records tolerated before reading stops."
    )
    file_bytes_max: int = Field(
        default=FILE_BYTES_MAX,
        ge=1,
        description="Bytes of the largest file that is read, packed or unpacked.",
    )
    unread_share_max: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="Share of the bytes of text that may stay unread, because a file is too large "
        "or damaged; more of it stops the run before anything is trained.",
    )
    dev_share: Share = Field(
        default=0.1, description="Share of each domain held out for tuning and calibration."
    )
    test_share: Share = Field(
        default=0.1, description="Share of each domain held out for the reported figures."
    )

    @field_validator("paths")
    @classmethod
    def _expand(cls, paths: tuple[Path, ...]) -> tuple[Path, ...]:
        try:
            return tuple(path.expanduser() for path in paths)
        except RuntimeError as error:  # no such user, or a user without a home
            raise ValueError(f"{', '.join(map(str, paths))}: {error}") from error

    @property
    def limits(self) -> ReadLimits:
        """What reading tolerates."""
        return ReadLimits(
            skips_max=self.skips_max,
            file_bytes_max=self.file_bytes_max,
            unread_share_max=self.unread_share_max,
            text_column=self.text_column,
        )

    @model_validator(mode="after")
    def _check(self) -> "CorpusSection":
        for name in self.merge:
            if not is_kernel_name(name):
                raise ValueError(f"merge names a domain {name!r}; allowed: {KERNEL_NAMES}")
        if self.dev_share + self.test_share >= 1:
            raise ValueError(
                f"dev_share and test_share are {self.dev_share} and {self.test_share}; together "
                "they must stay below 1, or nothing is left to learn from"
            )
        return self
