"""Samples that were there already: the same text, or nearly the same.

Equal samples are told by a hash of their words. Nearly equal ones by MinHash: two texts' signatures
agree in as many places as their sets of word 5-grams overlap (Jaccard), up to chance. Which ones to
compare at all is found by locality-sensitive hashing: signatures in bands, of which one is equal.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from datasketch import MinHash, MinHashLSH
from numpy.typing import NDArray

from wmss_cli.data.words import ngrams, words

PERMUTATIONS = 128
"""Values of a signature: an overlap is estimated with a standard error of at most 0.044."""

_WORDS = 5
_SEED = 1

Signatures = NDArray[np.uint32]


class Deduplicator:
    """Remember which samples were there: 16 bytes each, and what a set needs on top."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def is_new(self, *texts: str) -> bool:
        """Say whether a sample comes for the first time, and remember it.

        Parameters
        ----------
        *texts : str
            Its parts; case, punctuation and white space make no difference.
        """
        content = "\0".join(" ".join(words(text)) for text in texts)
        digest = hashlib.sha256(content.encode("utf-8", "surrogatepass")).digest()[:16]
        if digest in self._seen:
            return False
        self._seen.add(digest)
        return True


def signature(text: str) -> Signatures:
    """Return the MinHash signature of a text, ``[PERMUTATIONS]``.

    References
    ----------
    A. Broder, "On the resemblance and containment of documents" (1997).
    """
    found = words(text)
    shingles = set(ngrams(found, _WORDS)) or {" ".join(found)}
    hashed = MinHash(num_perm=PERMUTATIONS, seed=_SEED)
    hashed.update_batch(shingle.encode("utf-8", "surrogatepass") for shingle in shingles)
    return np.asarray(hashed.hashvalues, dtype=np.uint32)


def originals(signatures: Signatures, threshold: float) -> NDArray[np.int64]:
    """Return for each sample the one that stands for it: an earlier one, or itself.

    Samples are looked at in their order, and each is compared with those that stay: so the first
    one of a cluster stays, whatever it is cut into.

    Parameters
    ----------
    signatures : ndarray
        ``[samples, PERMUTATIONS]``; may be mapped from a file.
    threshold : float
        From this share of equal values on, a sample is a near-duplicate.

    Returns
    -------
    ndarray of int
        ``[samples]``.

    References
    ----------
    P. Indyk and R. Motwani, "Approximate nearest neighbors" (1998), for the bands.
    """
    found = np.arange(len(signatures), dtype=np.int64)
    # By band and content: samples that stay and may be like another one.
    staying: dict[tuple[int, int], list[int]] = defaultdict(list)
    places: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for band, groups in enumerate(_shared_bands(signatures, threshold)):
        for group, members in enumerate(groups):
            for sample in members:
                places[int(sample)].append((band, group))
    for sample in sorted(places):
        candidates = sorted({other for place in places[sample] for other in staying[place]})
        if candidates:
            equal = (signatures[candidates] == signatures[sample]).mean(axis=1)
            near = np.flatnonzero(equal >= threshold)
            if len(near):
                found[sample] = candidates[int(near[0])]
                continue
        for place in places[sample]:
            staying[place].append(sample)
    return found


def _shared_bands(
    signatures: Signatures, threshold: float
) -> Iterator[list[NDArray[np.int64]]]:
    """Yield, for each band, the groups of samples that are equal in it, of two and more."""
    layout = MinHashLSH(threshold=threshold, num_perm=PERMUTATIONS)
    for band in range(layout.b):
        part = np.ascontiguousarray(signatures[:, band * layout.r : (band + 1) * layout.r])
        keys = part.view(np.dtype((np.void, part.dtype.itemsize * layout.r))).ravel()
        order = np.argsort(keys, kind="stable")
        starts = np.flatnonzero(np.r_[True, keys[order][1:] != keys[order][:-1]])
        groups = np.split(order, starts[1:])
        yield [group for group in groups if len(group) > 1]
