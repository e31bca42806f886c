"""Writing the plan of a decoding step: vectors, slots, packed weights and linear layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor, nn

from kernels.decoding_step import WORKSPACE, PlannedStep, place
from kernels.huge_pages import Arena
from kernels.packed import Packed, pack_panels, round_up
from terraformer.sparse_dense import ConvolutionalDense, ModularDense, MultiplicativeDense

Fields = Mapping[str, int | float]
"""Numbers of a step, as kernels/csrc names them."""

LOGITS, ENCODING = 1, 2
"""Slots of the logits and of the encoding of the position."""


class Vector(NamedTuple):
    """Where a vector lies.

    Attributes:
        at: Its place, as of `kernels.decoding_step.place`.
        width: Its numbers.
    """

    at: int
    width: int

    def part(self, start: int, width: int) -> Vector:
        """Returns the vector of `width` numbers from `start` on."""
        return Vector(self.at + start, width)


class Ring(NamedTuple):
    """A slot that holds the inputs of a convolution at the last positions.

    Attributes:
        slot: Its number.
        n_positions: Positions, the present one among them.
        d_in: Width of an input.
        d_beside: Zeros before and after it, which stand for the modules beyond the first and last.
    """

    slot: int
    n_positions: int
    d_in: int
    d_beside: int

    @property
    def stride(self) -> int:
        """Floats from one position to the next."""
        return self.d_in + 2 * self.d_beside


@dataclass
class PlanBuilder:
    """Collects the steps of a plan.

    Attributes:
        int8: Whether weights of linear layers are rounded to int8.
        steps: So far.
        kept: Copies of tensors whose addresses steps hold.
        workspace: Floats of the workspace.
        n_slots: Slots.
    """

    int8: bool = False
    steps: list[PlannedStep] = field(default_factory=list)
    kept: list[Tensor] = field(default_factory=list)
    workspace: int = 0
    n_slots: int = 3
    _shared: dict[tuple[str, int], Vector] = field(default_factory=dict)
    _arena: Arena = field(default_factory=Arena)

    def vector(self, width: int) -> Vector:
        """Returns a new vector of the workspace; what fills it up to sixteens is and stays zero."""
        start = self.workspace
        self.workspace += round_up(width)
        return Vector(place(WORKSPACE, start), width)

    def scratch(self, name: str, width: int) -> Vector:
        """Returns the vector of this name and width, the same whenever it is asked for."""
        if (name, width) not in self._shared:
            self._shared[name, width] = self.vector(width)
        return self._shared[name, width]

    def slot(self) -> int:
        """Returns the number of a new slot."""
        self.n_slots += 1
        return self.n_slots - 1

    def address(self, tensor: Tensor | None) -> int:
        """Returns the address of a copy of a tensor's numbers, which is kept; 0 for None."""
        if tensor is None:
            return 0
        self.kept.append(self._arena.keep(tensor.detach()))
        return self.kept[-1].data_ptr()

    def add(self, name: str, fields: Fields, *, beside: bool = False) -> None:
        """Adds a step."""
        self.steps.append(PlannedStep(name, dict(fields), beside))

    def norm(self, layer: nn.LayerNorm, x: Vector, y: Vector) -> Vector:
        """Plans a layer norm; returns y."""
        self.add(
            "norm",
            {
                "x": x.at,
                "y": y.at,
                "width": x.width,
                "gain": self.address(layer.weight),
                "bias": self.address(layer.bias),
                "epsilon": layer.eps,
            },
        )
        return y

    def copy(
        self,
        x: Vector,
        y: Vector,
        *,
        adds: bool = False,
        factor: float = 1.0,
        by_probability: bool = False,
        rows: int = 1,
        x_stride: int = 0,
        y_stride: int = 0,
    ) -> None:
        """Plans y = x * factor or, if it adds, y + x * factor; for several rows of x's width."""
        self.add(
            "copy",
            {
                "x": x.at,
                "y": y.at,
                "rows": rows,
                "width": x.width,
                "x_stride": x_stride,
                "y_stride": y_stride,
                "factor": factor,
                "adds": int(adds),
                "by_probability": int(by_probability),
            },
        )

    def layer(
        self, layer: nn.Module, x: Vector, y: Vector, *, adds: bool = False, beside: bool = False
    ) -> None:
        """Plans y = layer(x) or, if it adds, y + layer(x), for the layers without state."""
        if isinstance(layer, MultiplicativeDense):
            self._multiplicative(layer, x, y, adds, beside)
        elif isinstance(layer, ModularDense):
            self._modular(layer, x, y, adds)
        else:
            assert isinstance(layer, nn.Linear)
            self.linear(layer.weight, layer.bias, x, y, adds=adds, beside=beside)

    def linear(
        self,
        weight: Tensor,
        bias: Tensor | None,
        x: Vector,
        y: Vector,
        *,
        adds: bool = False,
        relu: bool = False,
        beside: bool = False,
        exact: bool = False,
    ) -> None:
        """Plans y = weight · x + bias, weight [y.width, x.width]; `exact` keeps it float32."""
        packed = pack_panels(weight, self.int8 and not exact)
        self.add("linear", self._product(packed, bias, x, y, adds, relu), beside=beside)

    def expert_linear(
        self, weight: Tensor, bias: Tensor, x: Vector, y: Vector, *, relu: bool = False
    ) -> None:
        """Plans the layer of the expert that a router chose, weight [E, F, D] and bias [E, F]."""
        product = self._product(pack_panels(weight, self.int8), bias, x, y, False, relu)
        self.add("expert_linear", product | {"expert_bias": y.width})

    def ring(self, layer: ConvolutionalDense, x: Vector) -> Ring:
        """Plans that x is remembered for a convolution; returns where."""
        _, n_positions, kernel_size, d_module = layer.weight.shape
        ring = Ring(self.slot(), n_positions, x.width, kernel_size // 2 * d_module)
        self.add(
            "remember",
            {
                "x": x.at,
                "ring": place(ring.slot, ring.d_beside),
                "width": x.width,
                "positions": n_positions,
                "ring_stride": ring.stride,
            },
        )
        return ring

    def convolution(
        self,
        layer: ConvolutionalDense,
        ring: Ring,
        y: Vector,
        *,
        adds: bool = False,
        beside: bool = False,
    ) -> None:
        """Plans y = layer(x), x being what the ring remembers; kernels may be smaller than its."""
        d_module_out, n_positions, kernel_size, d_module_in = layer.weight.shape
        weight = layer.weight.permute(1, 0, 2, 3).flatten(2)  # [positions, d_out, modules * d_in]
        window = place(ring.slot, ring.d_beside - kernel_size // 2 * d_module_in)
        x = Vector(window, kernel_size * d_module_in)
        module = y.part(0, d_module_out)
        product = self._product(pack_panels(weight, self.int8), layer.bias, x, module, adds, False)
        product |= {
            "inputs": layer.n_modules,
            "x_stride": d_module_in,
            "y_stride": d_module_out,
            "positions": n_positions,
            "ring_stride": ring.stride,
        }
        self.add("convolution", product, beside=beside)

    def _multiplicative(
        self, layer: MultiplicativeDense, x: Vector, y: Vector, adds: bool, beside: bool
    ) -> None:
        n_modules, d_module = layer.gate.shape[0], layer.projection.shape[0]
        packed, module = pack_panels(layer.projection, self.int8), y.part(0, d_module)
        product = self._product(packed, layer.bias, x, module, adds, False)
        product |= {
            "inputs": n_modules,
            "y_stride": d_module,
            "bias_stride": d_module,
            "gate": self.address(layer.gate),
        }
        self.add("multiplicative", product, beside=beside)

    def _modular(self, layer: ModularDense, x: Vector, y: Vector, adds: bool) -> None:
        n_modules, d_module, _ = layer.weight.shape
        mixed = self.vector(y.width)
        self.layer(layer.multiplicative, x, mixed)
        for module in range(n_modules):
            start = module * d_module
            self.linear(
                layer.weight[module],
                layer.bias[start : start + d_module],
                mixed.part(start, d_module),
                y.part(start, d_module),
                adds=adds,
                beside=module > 0,
            )

    def _product(
        self, packed: Packed, bias: Tensor | None, x: Vector, y: Vector, adds: bool, relu: bool
    ) -> dict[str, int | float]:
        """Fields of a product with one input."""
        return {
            "weights": self.address(packed.weights),
            "scales": self.address(packed.scales),
            "bias": self.address(bias),
            "x": x.at,
            "y": y.at,
            "rows": y.width,
            "depth": x.width,
            "inputs": 1,
            "x_stride": 0,
            "y_stride": 0,
            "bias_stride": 0,
            "adds": int(adds),
            "relu": int(relu),
        }
