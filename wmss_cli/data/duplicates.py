"""Duplicate samples: the same text as an earlier one, or nearly the same.

Exact duplicates have the same hash of their words. Near duplicates are found by MinHash: the
signatures of two texts agree in the same share of places as their sets of word 5-grams overlap
(Jaccard), up to chance. Only samples of the same problem count: the same numbers in the prompt and
the same reference. Locality-sensitive hashing finds the pairs to compare: signatures are divided
into bands, and at least one band must be equal.

Records are compared whichever files they are in. Memory holds only hashes, and the signatures of
the records that may be near duplicates.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasketch import MinHash, MinHashLSH
from numpy.typing import NDArray

from wmss_cli.data.words import ngrams, words_and_signs

PERMUTATIONS = 128
"""Length of a signature: an overlap is estimated with a standard error of at most 0.044."""

_WORDS = 5
_ROWS_PER_BATCH = 1024
_ZEROS = re.compile(r"(?<=\d)\.0+(?!\d)")
_SEED = 1
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)

Signatures = NDArray[np.uint32]


def find_copies(
    files: Sequence[Path], threshold: float | None, gone: Collection[int] = ()
) -> dict[int, tuple[str, str]]:
    """Return why records are rejected as copies of earlier ones, by their places.

    Parameters
    ----------
    files : sequence of Path
        Tables of :data:`wmss_cli.core.schema.JUDGED` records. Together they have every place once.
    threshold : float or None
        Two records are near copies from this overlap (Jaccard) on; None finds only exact copies.
    gone : collection of int
        Places of records that are rejected for other reasons.

    Returns
    -------
    dict of int to (str, str)
        Reason (``duplicate`` or ``near_duplicate``) and detail, by the record's place.
    """
    columns = ["place", "content_key", "reason", "file", "row"]
    tables = [pq.read_table(file, columns=columns, read_dictionary=["file"]) for file in files]
    judged = pa.concat_tables(tables)
    places = judged["place"].to_numpy()
    kept = judged["reason"].is_null().to_numpy() & ~np.isin(places, list(gone))
    # A rejected record does not make another one a copy.
    rows = np.flatnonzero(kept)
    copied = rows[_repeated(judged["content_key"].take(rows), places[rows])]
    kept[copied] = False
    copies = {int(place): ("duplicate", "") for place in places[copied]}
    if threshold is None:
        return copies
    left = np.flatnonzero(kept)
    near = left[suspects(_band_keys(files, kept, threshold))]
    # In the order of the records: the first one of a cluster stays.
    near = near[np.argsort(places[near])]
    signatures, problems = _signatures(files, near)
    keys = band_keys(signatures, problems, threshold)
    found = originals(keys, signatures, problems, threshold)
    for row, original in zip(near.tolist(), near[found].tolist(), strict=True):
        if original != row:
            detail = f"of {judged['file'][original]}, row {judged['row'][original]}"
            copies[int(places[row])] = ("near_duplicate", detail)
    return copies


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


def _repeated(keys: pa.ChunkedArray, places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows whose key also occurs at a lower place; null is not a key."""
    there = np.flatnonzero(keys.is_valid().to_numpy())
    # 16 bytes as two numbers.
    held = keys.drop_null().combine_chunks()
    numbers = np.frombuffer(held.buffers()[1] or b"", dtype=np.uint64).reshape(-1, 2)
    first, second = numbers[held.offset : held.offset + len(held)].T
    order = np.lexsort((places[there], second, first))
    first, second = first[order], second[order]
    same = (first[1:] == first[:-1]) & (second[1:] == second[:-1])
    rows: NDArray[np.int64] = there[order[1:][same]]
    return rows


def _band_keys(
    files: Sequence[Path], kept: NDArray[np.bool_], threshold: float
) -> NDArray[np.uint32]:
    """Return the keys of the rows that are kept, file by file."""
    parts = [
        band_keys(part[here], problems[here], threshold)
        for first, part, problems in _signature_batches(files)
        for here in [kept[first : first + len(part)]]
    ]
    return np.concatenate(parts)


def _signatures(
    files: Sequence[Path], rows: NDArray[np.int64]
) -> tuple[NDArray[np.uint32], NDArray[np.uint64]]:
    """Return the signatures and the problem keys of some rows, in order."""
    found = np.empty((len(rows), PERMUTATIONS), dtype=np.uint32)
    keys = np.empty(len(rows), dtype=np.uint64)
    for first, part, problems in _signature_batches(files):
        here = np.flatnonzero((rows >= first) & (rows < first + len(part)))
        found[here] = part[rows[here] - first]
        keys[here] = problems[rows[here] - first]
    return found, keys


def _signature_batches(
    files: Sequence[Path],
) -> Iterator[tuple[int, NDArray[np.uint32], NDArray[np.uint64]]]:
    """Yield the number of the first row, signatures ``[rows, PERMUTATIONS]``, and problem keys."""
    first = 0
    yield first, np.empty((0, PERMUTATIONS), dtype=np.uint32), np.empty(0, dtype=np.uint64)
    for file in files:
        # With pre-buffering, everything read from a file stays in memory.
        for batch in pq.ParquetFile(file, pre_buffer=False).iter_batches(
            _ROWS_PER_BATCH, columns=["signature", "problem_key"]
        ):
            part = np.frombuffer(_bytes(batch["signature"], 4 * PERMUTATIONS), dtype=np.uint32)
            problems = np.frombuffer(_bytes(batch["problem_key"], 8), dtype=np.uint64)
            yield first, part.reshape(-1, PERMUTATIONS), problems
            first += len(problems)


def _bytes(column: pa.Array, width: int) -> bytes:
    """Return all values of a column, with zeros for missing ones."""
    return b"".join(value or bytes(width) for value in column.to_pylist())
