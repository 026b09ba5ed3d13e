"""Samples that were there already: the same text, or nearly the same.

Equal samples are told by a hash of their words. Nearly equal ones by MinHash: two texts' signatures
agree in as many places as their sets of word 5-grams overlap (Jaccard), up to chance. Only samples
of one problem count: the same numbers in the prompt, and the same reference. Which ones to compare
at all is found by locality-sensitive hashing: signatures in bands, of which one is equal.
"""

from __future__ import annotations

import hashlib
import re
from unicodedata import normalize

import numpy as np
from datasketch import MinHash, MinHashLSH
from numpy.typing import NDArray

from wmss_cli.data.words import ngrams, words_and_signs

PERMUTATIONS = 128
"""Values of a signature: an overlap is estimated with a standard error of at most 0.044."""

_WORDS = 5
_ZEROS = re.compile(r"(?<=\d)\.0+(?!\d)")
_SEED = 1
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)

Signatures = NDArray[np.uint32]


def content_key(prompt: str, completion: str) -> bytes:
    """Return 16 bytes that samples of the same content share.

    Case and white space make no difference, and neither do forms that Unicode holds for
    compatibility. Punctuation does: it is what an expression or a program is made of.
    """
    parts = (" ".join(normalize("NFKC", text).casefold().split()) for text in (prompt, completion))
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).digest()[:16]


def problem_key(prompt: str, reference: str) -> bytes:
    """Return 8 bytes that nearly equal samples share if they answer the same question.

    A template that is filled with other numbers is another problem, however much text its samples
    have in common.

    Parameters
    ----------
    prompt : str
        Its numbers count, in their order.
    reference : str
        What the answer is checked by: a reference answer or tests, empty if there is nothing.
    """
    numbers = [word for word in words_and_signs(prompt) if any(c.isdigit() for c in word)]
    reference = _ZEROS.sub("", reference)
    parts = (" ".join(numbers), " ".join(words_and_signs(reference)))
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).digest()[:8]


def signature(text: str) -> Signatures:
    """Return the MinHash signature of a text, ``[PERMUTATIONS]``.

    References
    ----------
    A. Broder, "On the resemblance and containment of documents" (1997).
    """
    found = words_and_signs(text)
    shingles = set(ngrams(found, _WORDS)) or {" ".join(found)}
    hashed = MinHash(num_perm=PERMUTATIONS, seed=_SEED)
    hashed.update_batch(shingle.encode("utf-8", "surrogatepass") for shingle in shingles)
    return np.asarray(hashed.hashvalues, dtype=np.uint32)


def band_keys(
    signatures: Signatures, problems: NDArray[np.uint64], threshold: float
) -> NDArray[np.uint32]:
    """Return a key for each band of signatures: samples that share one may be near-duplicates.

    Parameters
    ----------
    signatures : ndarray
        ``[samples, PERMUTATIONS]``.
    problems : ndarray
        ``[samples]``: of :func:`problem_key`. Samples of different problems share no key but by
        chance, so that thousands from one template need not be compared.
    threshold : float
        Decides on the number of bands.

    Returns
    -------
    ndarray of uint32
        ``[samples, bands]``.

    References
    ----------
    P. Indyk and R. Motwani, "Approximate nearest neighbors" (1998).
    """
    # A candidate too many costs a comparison, one too few a copy that stays.
    layout = MinHashLSH(threshold=threshold, num_perm=PERMUTATIONS, weights=(0.05, 0.95))
    keys = np.repeat(problems[:, None], layout.b, axis=1)
    for band in range(layout.b):
        for value in signatures[:, band * layout.r : (band + 1) * layout.r].T:
            # A polynomial in an odd number, modulo 2^64.
            keys[:, band] = keys[:, band] * _MULTIPLIER + value + np.uint64(1)
    # Of the product's bits the upper ones depend on all values.
    return (keys >> np.uint64(32)).astype(np.uint32)


def suspects(keys: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Return the samples that share a key with another one, in order."""
    shared = np.zeros(len(keys), dtype=bool)
    for band in keys.T:
        _, places, counts = np.unique(band, return_inverse=True, return_counts=True)
        shared |= counts[places] > 1
    return np.flatnonzero(shared)


def originals(
    keys: NDArray[np.uint32],
    signatures: Signatures,
    problems: NDArray[np.uint64],
    threshold: float,
) -> NDArray[np.int64]:
    """Return for each sample the one that stands for it: an earlier one, or itself.

    Samples are looked at in their order, and each is compared with those that stay: so the first
    one of a cluster stays.

    Parameters
    ----------
    keys : ndarray
        ``[samples, bands]``, of :func:`band_keys`.
    signatures : ndarray
        ``[samples, PERMUTATIONS]``.
    problems : ndarray
        ``[samples]``: only samples of one problem are near-duplicates.
    threshold : float
        From this share of equal values on, a sample is a near-duplicate.

    Returns
    -------
    ndarray of int
        ``[samples]``.
    """
    found = np.arange(len(signatures), dtype=np.int64)
    staying: dict[tuple[int, int], list[int]] = {}
    for sample in range(len(signatures)):
        places = list(enumerate(keys[sample].tolist()))
        candidates = sorted({other for place in places for other in staying.get(place, ())})
        if candidates:
            equal = (signatures[candidates] == signatures[sample]).mean(axis=1)
            near = np.flatnonzero((equal >= threshold) & (problems[candidates] == problems[sample]))
            if len(near):
                found[sample] = candidates[int(near[0])]
                continue
        for place in places:
            staying.setdefault(place, []).append(sample)
    return found
