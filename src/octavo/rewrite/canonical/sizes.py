"""Makes sizes static: batch 1, and the requested height and width. LiteRT computes all other shapes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from octavo.base.errors import ModelError
from octavo.rewrite.canonical import exact
from octavo.rewrite.canonical.change import Change
from octavo.rewrite.canonical.known import Known
from octavo.tflite.graph import Graph, Tensor

Shape = tuple[int, ...]
Size = tuple[int, int]


@dataclass(frozen=True)
class Sizes:
    """The sizes for dimensions that a model file leaves open.

    Args:
        size: Height and width, as set by the user.
        images: Returns the height and width of the user's images, or None if they differ. Called only if a height or
            width is open and `size` is None.
    """

    size: Size | None = None
    images: Callable[[], Size | None] | None = None

    def __call__(self, graph: Graph) -> Change | None:
        """Sets the open dimensions of a graph. A rewrite of the canonical form."""
        shapes = self.shapes(graph)
        changes = []
        batch = any(graph.tensors[index].shape[0] < 1 for index in shapes)
        if batch:
            changes.append("The open batch became 1.")
        for index, shape in shapes.items():
            if (places := _image(graph.tensors[index])) and any(graph.tensors[index].shape[p] < 1 for p in places):
                high, wide = (shape[p] for p in places)
                changes.append(f"The open height and width of '{graph.tensors[index].name}' became {high} x {wide}.")
        if not shapes:
            known = Known.of(graph).shapes
            if any(n < 1 for index in known for n in graph.tensors[index].shape):
                changes.append("Sizes that the file leaves open became those that LiteRT computes.")
            else:
                return _corrected(graph, known)
        return Change(static(graph, shapes), tuple(changes))

    def shapes(self, graph: Graph) -> dict[int, Shape]:
        """The static shape of each input that has an open dimension, by the input's index.

        Raises:
            ModelError: The size of an open dimension is not given, or the model has no image input of the given `size`.
        """
        found = {}
        for index in graph.inputs:
            tensor = graph.tensors[index]
            wanted = self._closed(graph, tensor)
            if wanted != tensor.shape:
                found[index] = wanted
        self._check(graph, found)
        return found

    def _check(self, graph: Graph, found: Mapping[int, Shape]) -> None:
        """Refuses a `size` that no image input of the model has."""
        have = []
        for index in graph.inputs:
            shape = found.get(index, graph.tensors[index].shape)
            have += [tuple(shape[place] for place in _image(graph.tensors[index]))]
        if self.size is not None and self.size not in have:
            sizes = " and ".join(f"{one[0]} x {one[1]}" for one in have if one)
            raise ModelError(
                f"{graph.name} takes {f'images of {sizes}' if sizes else 'no images'}, and `size` asks for "
                f"{self.size[0]} x {self.size[1]}.",
                "Leave `size` out, or export the model with an open height and width.",
            )

    def settled(self, graph: Graph) -> Size | None:
        """The height and width to give: `size`, or those of the images if an image input of the graph needs them."""
        opens = any(graph.tensors[i].shape[place] < 1 for i in graph.inputs for place in _image(graph.tensors[i]))
        return self.size or (self.images() if opens and self.images is not None else None)

    def _closed(self, graph: Graph, tensor: Tensor) -> Shape:
        shape = list(tensor.shape)
        # The only axis of a vector is not a batch: it may be the length of an audio signal.
        if len(shape) > 1 and shape[0] < 1:
            shape[0] = 1
        places = _image(tensor)
        if any(shape[place] < 1 for place in places):
            size = self.size or (self.images() if self.images is not None else None)
            for place, wanted in zip(places, size or (), strict=False):
                if shape[place] < 1:
                    shape[place] = wanted
        if 0 in shape:
            raise ModelError(
                f"{graph.name} has an input without values: the shape of '{tensor.name}' is {tensor.shape}.",
                "Export the model without this input.",
            )
        listed = ", ".join("open" if n < 1 else str(n) for n in tensor.shape)
        if any(n < 1 for n in shape):
            raise ModelError(
                f"{graph.name} leaves sizes of its input '{tensor.name}' open: its shape is ({listed}).",
                "Set `size` to a height and width, such as `size=224 224`, or give images that all have one size."
                if places and all(shape[p] > 0 for p in range(len(shape)) if p not in places)
                else "Export the model with static sizes.",
            )
        return tuple(shape)


def _corrected(graph: Graph, known: Collection[int]) -> Change | None:
    """The graph with the shapes that LiteRT computes; None if the file states them, or LiteRT cannot compute others."""
    try:
        if not _otherwise(graph, known):
            return None
        made = static(graph, {})
    except ModelError:
        return None
    return Change(made, ("Sizes that the file states wrongly became those that LiteRT computes.",))


def _otherwise(graph: Graph, known: Collection[int]) -> bool:
    """Whether the file states another shape for a computed tensor than LiteRT computes."""
    computed = [out for op in graph.ops for out in op.outputs if out in known]
    details = {detail["index"]: detail["shape"] for detail in exact.started(graph.content).get_tensor_details()}
    return any(tuple(details[i]) != graph.tensors[i].shape for i in computed if i in details)


def _image(tensor: Tensor) -> tuple[int, ...]:
    """The axes of height and width of an image: (N, H, W, C), or (N, C, H, W) if H and W are open and C is not."""
    if len(tensor.shape) != 4:
        return ()
    return (2, 3) if tensor.shape[1] > 0 and max(tensor.shape[2:]) < 1 else (1, 2)


def opened(graph: Graph, shapes: Mapping[int, Shape]) -> Graph:
    """Sets the shapes of inputs. All other tensors keep their shapes from the file."""
    if not shapes:
        return graph
    model = graph.copied()
    for index, shape in shapes.items():
        raw = model.subgraphs[0].tensors[index]
        raw.shape, raw.shapeSignature = list(shape), None
    return Graph.of(model, graph.name)


def static(graph: Graph, shapes: Mapping[int, Shape]) -> Graph:
    """Sets the shapes of inputs, and gives every other tensor the shape that LiteRT computes for it.

    Args:
        graph: The graph.
        shapes: The new shapes of inputs, by tensor index. Other inputs keep their shapes.

    Raises:
        ModelError: LiteRT cannot run the graph at these shapes.
    """
    graph = opened(graph, shapes)
    made = exact.invoked(_unshaped(graph))
    details = {detail["index"]: detail["shape"] for detail in made.get_tensor_details()}
    known = Known.of(graph).shapes
    model = graph.copied()
    for tensor in graph.tensors:
        # A shape that depends on data changes from run to run.
        if tensor.constant is None and tensor.index in known and tensor.index in details:
            raw = model.subgraphs[0].tensors[tensor.index]
            raw.shape, raw.shapeSignature = [int(n) for n in details[tensor.index]], None
    return Graph.of(model, graph.name)


def _unshaped(graph: Graph) -> Graph:
    """Removes the shapes of computed tensors: some kernels would keep the shapes from the file."""
    model = graph.copied()
    for op in graph.ops:
        for index in op.outputs:
            raw = model.subgraphs[0].tensors[index]
            raw.shape, raw.shapeSignature, raw.hasRank = None, None, False
    return Graph.of(model, graph.name)
