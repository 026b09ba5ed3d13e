"""Find the files of records: a file, a folder of a data set, or one on the Hugging Face hub.

If a data set has several configurations or splits, what follows its name chooses one:
``FOLDER/SPLIT``, ``OWNER/NAME/CONFIGURATION/SPLIT``.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path

from wmss_cli.core.config_paths import looks_like_hub_data
from wmss_cli.core.errors import ConfigError
from wmss_cli.core.manifest import MANIFEST, read_manifest
from wmss_cli.core.rows import SAVED, has_known_ending

_EXAMPLES = "examples.parquet"
_SPLITS = "dataset_dict.json"


def find_data(reference: str, download: bool = True) -> list[Path]:
    """Return the files of a data set that :func:`wmss_cli.core.rows.read_rows` reads, in order.

    Parameters
    ----------
    reference : str
        A file; a folder that ``datasets`` saved, or laid out as on the hub; an artifact of curate;
        or a hub id. A configuration and a split may follow a folder or a hub id.
    download : bool
        Whether the hub may be asked, or only the local cache.

    Raises
    ------
    ConfigError
        If there is none, or several could be meant.
    """
    path = Path(reference)
    if path.is_dir():
        return _in_folder(path, (), reference)
    if path.exists():
        return [path]
    for folder in list(path.parents)[:2]:
        if _may_be_chosen_from(folder) and not path.suffix:
            return _in_folder(folder, path.relative_to(folder).parts, reference)
    if looks_like_hub_data(reference):
        owner, name, *rest = reference.split("/")
        return _in_folder(_from_hub(f"{owner}/{name}", download), rest, reference)
    if any(sign in reference for sign in "*?["):
        raise ConfigError(
            f"{reference}: no such file; only shells expand wildcards: name the folder or the files"
        )
    raise ConfigError(f"{reference}: no such file or folder; check the path")


def _may_be_chosen_from(folder: Path) -> bool:
    """Say whether a folder is itself a data set; of any other, all below it would be read."""
    if folder in (Path(), Path(folder.anchor)) or not folder.is_dir():
        return False
    places = [folder, folder / "data"]
    inside = (name for place in places if place.is_dir() for name in place.iterdir())
    return any(one.name in (_SPLITS, "README.md") or has_known_ending(one) for one in inside)


def _from_hub(hub_id: str, download: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        found = snapshot_download(hub_id, repo_type="dataset", local_files_only=not download)
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ConfigError(
            f"{hub_id}: neither a file or folder here nor a data set on the hub "
            f"({type(error).__name__}); check the path, or copy the data to a folder and name that"
        ) from None
    return Path(found)


def _in_folder(folder: Path, chosen: Sequence[str], reference: str) -> list[Path]:
    if (folder / MANIFEST).is_file() and not chosen:
        return [_examples(folder)]
    if all((folder / name).is_file() for name in SAVED):
        if chosen:
            raise ConfigError(f"{reference}: {folder} has no splits; name the folder alone")
        return [folder]
    if (folder / _SPLITS).is_file():
        splits = json.loads((folder / _SPLITS).read_text(encoding="utf-8"))["splits"]
        split, rest = _choose(splits, chosen, "splits", reference)
        return _in_folder(folder / split, rest, reference)
    return _as_the_hub_has_it(folder, chosen, reference)


def _examples(folder: Path) -> Path:
    if (folder / _EXAMPLES).is_file():
        return folder / _EXAMPLES
    stage = read_manifest(folder).stage
    raise ConfigError(f"{folder}: made by {stage}, without records; name a folder that curate made")


def _as_the_hub_has_it(folder: Path, chosen: Sequence[str], reference: str) -> list[Path]:
    """Return the files of a folder whose names, or a README, say what is in them."""
    # Imported here, because it takes seconds.
    from datasets import get_dataset_config_names, load_dataset_builder

    # It says on the terminal that a README has no metadata.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    # Absolute, since a folder called csv or json would be taken for the library's module.
    place = str(folder.resolve())
    try:
        configs = get_dataset_config_names(place)
        config, chosen = _choose(configs, chosen, "configurations", reference)
        files = load_dataset_builder(place, name=config).config.data_files or {}
    except ConfigError:
        raise
    # It raises whatever it meets: errors of YAML, of zip archives, its own.
    except Exception as error:
        said = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise ConfigError(
            f"{reference}: not the folder of a data set ({said}); name the files in it"
        ) from None
    found = {str(split): [Path(str(file)) for file in files[split]] for split in files}
    _refuse_if_some_are_left_out(folder, [file for some in found.values() for file in some])
    split, rest = _choose(list(found), chosen, "splits", reference)
    if rest:
        raise ConfigError(f"{reference}: there is nothing called {'/'.join(rest)} in it")
    return found[split]


def _refuse_if_some_are_left_out(folder: Path, found: Sequence[Path]) -> None:
    """Refuse a folder if the library would take only files of one kind, or with a split's name."""
    readme = folder / "README.md"
    if readme.is_file() and re.search(r"^(configs|data_files):", readme.read_text("utf-8"), re.M):
        return
    taken = {file.resolve() for file in found}
    for path in sorted(folder.rglob("*")):
        is_hidden = any(part[0] in "._" for part in path.relative_to(folder).parts)
        is_about = path.name.startswith(("dataset_info", "metadata"))
        is_data = has_known_ending(path) and path.is_file() and not is_hidden and not is_about
        if is_data and path.resolve() not in taken:
            raise ConfigError(
                f"{folder}: {path.relative_to(folder)} would be left out, since it is of "
                "another kind or not named as a split; name the files that you mean"
            )


def _choose(
    names: Sequence[str], chosen: Sequence[str], what: str, reference: str
) -> tuple[str, Sequence[str]]:
    """Return the one that is meant, and the rest of what was chosen."""
    if chosen and chosen[0] in names:
        return chosen[0], chosen[1:]
    if len(names) == 1 and (what == "configurations" or not chosen):
        return names[0], chosen
    if "default" in names and what == "configurations":
        return "default", chosen
    listed = ", ".join(names) or "none"
    if chosen:
        raise ConfigError(f"{reference}: no such split or configuration; choose from {listed}")
    raise ConfigError(f"{reference}: has the {what} {listed}; name one: {reference}/{names[0]}")
