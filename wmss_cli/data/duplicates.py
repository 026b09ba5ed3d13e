"""Duplicate samples: the same text as an earlier one, or nearly the same.

Exact duplicates have the same hash of their words. Near duplicates are found by MinHash: the
signatures of two texts agree in the same share of places as their sets of word 5-grams overlap
(Jaccard), up to chance. Only samples of the same problem count: the same numbers in the prompt and
the same reference. Locality-sensitive hashing finds the pairs to compare: signatures are divided
into bands, and at least one band must be equal.
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
"""Length of a signature: an overlap is estimated with a standard error of at most 0.044."""

_WORDS = 5
_ZEROS = re.compile(r"(?<=\d)\.0+(?!\d)")
_SEED = 1
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)

Signatures = NDArray[np.uint32]


def content_key(prompt: str, completion: str) -> bytes:
    """Return 16 bytes that samples with the same content share.

    Case, white space and Unicode's compatibility forms make no difference. Punctuation does, since
    expressions and programs consist of it.
    """
    parts = (" ".join(normalize("NFKC", text).casefold().split()) for text in (prompt, completion))
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).digest()[:16]


def problem_key(prompt: str, reference: str) -> bytes:
    """Return 8 bytes that near duplicates share if they answer the same question.

    A template filled with other numbers is a different problem, however much text its samples
    share.

    Parameters
    ----------
    prompt : str
        The numbers in it count, in order.
    reference : str
        What the answer is checked against: a reference answer or tests; empty if there is neither.
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
    """Return a key for each band of signatures: samples that share one may be near duplicates.

    Parameters
    ----------
    signatures : ndarray
        ``[samples, PERMUTATIONS]``.
    problems : ndarray
        ``[samples]``: from :func:`problem_key`. Samples of different problems share a key only by
        chance, so thousands of samples from one template need not be compared.
    threshold : float
        Determines the number of bands.

    Returns
    -------
    ndarray of uint32
        ``[samples, bands]``.

    References
    ----------
    P. Indyk and R. Motwani, "Approximate nearest neighbors" (1998).
    """
    # A needless candidate costs a comparison; a missed one leaves a copy in the data.
    layout = MinHashLSH(threshold=threshold, num_perm=PERMUTATIONS, weights=(0.05, 0.95))
    keys = np.repeat(problems[:, None], layout.b, axis=1)
    for band in range(layout.b):
        for value in signatures[:, band * layout.r : (band + 1) * layout.r].T:
            # A polynomial in an odd number, modulo 2^64.
            keys[:, band] = keys[:, band] * _MULTIPLIER + value + np.uint64(1)
    # The upper bits of the product depend on all values.
    return (keys >> np.uint64(32)).astype(np.uint32)


def suspects(keys: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Return the samples that share a key with another sample, in order."""
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
    """Return for each sample the one that represents it: an earlier one, or itself.

    Samples are processed in order, and each is compared with those that were kept, so the first
    one of a cluster is kept.

    Parameters
    ----------
    keys : ndarray
        ``[samples, bands]``, from :func:`band_keys`.
    signatures : ndarray
        ``[samples, PERMUTATIONS]``.
    problems : ndarray
        ``[samples]``: only samples of the same problem can be near duplicates.
    threshold : float
        From this share of equal values on, a sample is a near duplicate.

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
