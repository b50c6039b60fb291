"""Ensembles as C, for machines on which nothing else runs.

A controller has no runtime for models, and need not have one: trees are arrays, comparisons and
additions. One header of C99 holds them all. It includes nothing and allocates nothing, so that it
also runs without an operating system, and anyone who has a C compiler can check it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from ...core.checks import FloatArray
from .shap import check_additive

if TYPE_CHECKING:
    from .ensemble import TreeEnsemble

Precision: TypeAlias = Literal["float", "int16", "int8"]
_KEYWORDS = (
    "auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else",
    "enum", "extern", "float", "for", "goto", "if", "inline", "int", "long", "register",
    "restrict", "return", "short", "signed", "sizeof", "static", "struct", "switch", "typedef",
    "union", "unsigned", "void", "volatile", "while", "main",
)  # fmt: skip
_C_TYPES = {"float": "float", "int16": "short", "int8": "signed char"}
_MOST = {"int16": 2**15 - 1, "int8": 2**7 - 1}
_LARGEST = np.finfo(np.float32).max


def to_c(
    ensemble: TreeEnsemble,
    path: str | Path,
    name: str = "predict",
    *,
    precision: Precision = "float",
) -> None:
    """Write F as a C99 header with `void name(const float *x, float *out)`.

    Leaves hold c = −η_t ∘ value. With "float" these are rounded to float32 and added in double, so

        |out_d − F_d(x)| <= u (Σ_t |c_td| + |F_d(x)|),        u = 2^−24,

    to first order in u. With "int16" and "int8" they are multiples of s_d = max |c_d| / M over all
    trees, M = 32767 or 127, added as integers: the first term becomes T s_d / 2, half a step a
    tree. Rows of finite float32 go to the same leaves as here, whatever the precision.

        #include "predict.h"
        float x[predict_n_features], out[predict_n_outputs];
        predict(x, out);

    Args:
        ensemble: of trees that add up.
        path: of the header, which is overwritten.
        name: of the function, and the prefix of all else that is defined.
        precision: of leaves; they take 4, 2 or 1 bytes an output.

    Raises:
        ValueError: the optimizer is Adam, the number of features is not known yet, a leaf is
            infinite in float32, `name` is no C identifier, or `precision` is none of these.
    """
    check_additive(ensemble)
    if ensemble.n_features is None:
        raise ValueError("ensemble must know n_features, got None; fit a tree first")
    if re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name) is None or name in _KEYWORDS:
        raise ValueError(f"name must be a C identifier, got {name!r}; use letters, digits and _")
    if precision not in get_args(Precision):
        raise ValueError(f"precision must be one of {get_args(Precision)}, got {precision!r}")
    Path(path).write_text(_header(ensemble, name, precision), "ascii")


def _header(ensemble: TreeEnsemble, name: str, precision: Precision) -> str:
    """The text."""
    T, F, D = max(ensemble.n_trees, 1), len(ensemble._is_categorical()), ensemble.n_outputs
    depth, grow = ensemble.params.depth, ensemble.params.grow
    features, thresholds, values, rates = (
        array[:T] if ensemble.n_trees else np.zeros((1, *array.shape[1:]), array.dtype)
        for array in (ensemble._features, ensemble._thresholds, ensemble._values, ensemble._rates)
    )  # C has no empty arrays: where there is no tree, one that is 0
    leaves, steps = _leaves(np.asarray(-rates[:, None, :] * values, np.float64), precision)
    n_tests = features.shape[1]
    c_type, total = _C_TYPES[precision], "double"
    arrays = [
        _array(f"double {name}_bias[{D}]", ensemble.bias),
        _array(f"{_index_type(F)} {name}_features[{T}][{n_tests}]", features.astype(np.int64)),
        _array(
            f"float {name}_thresholds[{T}][{n_tests}]",
            np.minimum(thresholds, _LARGEST).astype(np.float32),  # ∞, of no test, is in math.h
        ),
        _array(f"{c_type} {name}_leaves[{T}][{2**depth}][{D}]", leaves),
    ]
    error = "Leaves are rounded to float and added in double."
    output = f"{name}_bias[d] + sum[d]"
    if steps is not None:
        arrays.append(_array(f"double {name}_steps[{D}]", steps))
        total = "long" if T * _MOST[precision] < 2**31 else "long long"
        error = (
            f"Leaves are multiples of {name}_steps: half a step of error a tree,\n"
            f" * or {', '.join(f'{0.5 * T * step:.2g}' for step in steps)} for all."
        )
        output = f"{name}_bias[d] + {name}_steps[d] * (double)sum[d]"
    right = f"x[f] > {name}_thresholds[t][test]"
    if ensemble.categorical:
        mask = ensemble._is_categorical().astype(np.int64)
        arrays.append(_array(f"unsigned char {name}_categorical[{F}]", mask))
        right = f"{name}_categorical[f] ? x[f] == {name}_thresholds[t][test] : {right}"
    test = "k" if grow == "oblivious" else "(1L << k) - 1 + leaf"
    return f"""\
/* F(x) of {ensemble.n_trees} {grow} trees of depth {depth}, made by fenchel.
 *
 *     x: {F} features, finite.
 *     out: {D} outputs.
 *
 * {error}
 */
#ifndef FENCHEL_{name}_H
#define FENCHEL_{name}_H

enum {{ {name}_n_features = {F}, {name}_n_outputs = {D} }};

{"".join(arrays)}
static inline void {name}(const float *x, float *out) {{
    {total} sum[{D}] = {{0}};
    for (long t = 0; t < {T}; t++) {{
        long leaf = 0;
        for (int k = 0; k < {depth}; k++) {{
            const long test = {test};
            const long f = {name}_features[t][test];
            leaf = 2 * leaf + ({right});
        }}
        for (long d = 0; d < {D}; d++)
            sum[d] += {name}_leaves[t][leaf][d];
    }}
    for (long d = 0; d < {D}; d++)
        out[d] = (float)({output});
}}

#endif
"""


def _leaves(c: FloatArray, precision: Precision) -> tuple[npt.NDArray[Any], FloatArray | None]:
    """Leaves c, (T, leaves, D), as they are stored, and the steps s, (D,), if they are integers."""
    largest = np.abs(c).max(axis=(0, 1))
    if largest.max() > _LARGEST:
        raise ValueError(
            f"ensemble must have leaves that are finite in float32, got {largest.max():g}; scale it"
        )
    if precision == "float":
        return c.astype(np.float32), None
    steps: FloatArray = largest / _MOST[precision]
    return np.rint(c / np.where(steps > 0, steps, 1.0)).astype(np.int64), steps


def _index_type(size: int) -> str:
    """The smallest unsigned type that C guarantees to hold 0 .. size − 1."""
    return "unsigned " + ("char" if size <= 2**8 else "short" if size <= 2**16 else "long")


def _array(declaration: str, values: npt.NDArray[Any]) -> str:
    """Its definition; numbers are the shortest that are read as the same."""
    suffix = "f" if values.dtype == np.float32 else ""

    def braces(part: npt.NDArray[Any]) -> str:
        if part.ndim == 1:
            return "{" + ",".join(f"{number!s}{suffix}" for number in part) + "}"
        return "{" + ",\n".join(map(braces, part)) + "}"

    return f"static const {declaration} = {braces(values)};\n"
