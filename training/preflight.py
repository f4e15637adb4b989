"""Check a recipe before anything is read or written, so that errors appear at once.

Sections that are valid by themselves may still contradict each other, or name missing files.
"""

from dataclasses import replace
from pathlib import Path

from constellation.curricula.prepared_corpus import PreparedCorpus
from constellation.errors import ConfigError, CorpusError
from constellation.kernel.adapters.attach import attach
from constellation.kernel.network.config import KernelConfig
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.observables.phi import PHI_POSITIONS
from constellation.wire.kernel_names import KERNEL_NAMES, is_kernel_name
from training.job_settings import objective_config, watch_settings
from training.loop.objective import check_shape
from training.loop.step import choose_device
from training.plan import kernel_config
from training.recipe import Recipe
from training.runs.adapter_branches import adapter_config
from training.runs.training_plan import SEED
from training.text_amount import check_num_domains
from training.transfer.teachers import folder_state

_SMALLEST_VOCABULARY = 257


def check_recipe(recipe: Recipe, out: Path) -> None:
    """Raise at once for errors of a recipe that would otherwise appear after hours.

    The run's folder `out` is absolute.

    Raises:
        ConfigError: Parts of the recipe do not go together, or name what is not there.
        CorpusError: The text does not exist.
    """
    _check_places(recipe, out)
    if recipe.pairs is not None:
        raise ConfigError(
            f"recipe {recipe.name} trains on [pairs], which makes a kernel and no constellation; "
            "remove the section, or give the recipe to `constellation train`"
        )
    if recipe.mode == "synchronized":
        check_domains((recipe.name,))
    if SEED in recipe.corpus.merge:
        check_domains((SEED,))
    config = kernel_config(recipe.kernel, _SMALLEST_VOCABULARY)
    check_shape(objective_config(recipe.objective), config)
    choose_device(recipe.optimiser.device)
    watch_settings(recipe.guards, gauged=recipe.mode != "synchronized")
    if recipe.guards.measure_phi and config.context < PHI_POSITIONS:
        raise ConfigError(
            f"guards.measure_phi needs a context of {PHI_POSITIONS} tokens and the kernels have "
            f"{config.context}; take a longer kernel.context or leave measure_phi out"
        )
    _check_adapter(recipe, config)


def check_domains(names: tuple[str, ...]) -> None:
    """Raise for domain names that cannot name a kernel.

    Raises:
        ConfigError: A name is the seed's, or is not allowed for folders and routes.
    """
    if SEED in names:
        raise ConfigError(
            f"a kernel would be named {SEED!r}, which is taken; rename the domain's folder, or the "
            "recipe in mode synchronized"
        )
    for name in names:
        if not is_kernel_name(name):
            raise ConfigError(f"a domain is named {name!r}; allowed: {KERNEL_NAMES}")


def check_corpus(corpus: PreparedCorpus, recipe: Recipe) -> None:
    """Check names and number of a corpus's domains; mode synchronized has one domain of its own.

    Raises:
        ConfigError: As `check_domains` and `check_num_domains`.
    """
    if recipe.mode != "synchronized":
        check_domains(corpus.domains)
        check_num_domains(len(corpus.domains))


def _check_places(recipe: Recipe, out: Path) -> None:
    for path in map(Path.expanduser, recipe.corpus.paths):
        if not path.exists():
            raise CorpusError(path, "no such file or folder")
        if out.is_relative_to(path.resolve()):
            raise ConfigError(
                f"the run's folder {out} lies in {path}, whose text it would learn from, what it "
                "writes included; choose another --out, or name the folders of text one by one"
            )
    if recipe.objective.basin_target is not None and not recipe.objective.basin_target.is_file():
        raise ConfigError(
            f"objective.basin_target is {recipe.objective.basin_target}: no such file"
        )
    if recipe.distil is not None:
        folder_state(recipe.distil.teacher)
    if recipe.embedding is not None:
        folder_state(recipe.embedding.folder)


def _check_adapter(recipe: Recipe, config: KernelConfig) -> None:
    """Attach the adapter to a network of the same shape, so that a misfit is found here."""
    if recipe.adapter is not None:
        small = replace(config, frozen_input=recipe.embedding is not None)
        attach(Decoder(small, seed=None), adapter_config(recipe.adapter))
