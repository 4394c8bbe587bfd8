"""What all kinds of models share in sampling: rows, their choices, and who is told of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from penchant.errors import NotFinite
from penchant.sampling.options import Listen, Options, Sampled
from penchant.sampling.rows import Decode, Request, Rows
from penchant.sampling.warp import Choice, choose

__all__ = ["Board", "Face"]


class Face:
    """What the caller wants to hear, and when to stop.

    Args:
        tell: called with (request, result) for each that ends.
        listen: called with what a request took at each step.
        decode: ids to text, for stop strings.
        stopped: looked at each step.
    """

    def __init__(
        self,
        tell: Callable[[int, Sampled], None],
        listen: Listen | None = None,
        decode: Decode | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ):
        self.tell, self.listen, self.decode, self.stopped = tell, listen, decode, stopped


class Board:
    """Rows sampled at once: logits in, tokens taken, results told.

    Args:
        sizes: rows, the vocabulary, and the most tokens that a text may hold.
    """

    def __init__(self, sizes: tuple[int, int, int], options: Options, face: Face, device: torch.device):
        count, vocabulary, limit = sizes
        self.options, self.face, self.device = options, face, device
        self.rows = Rows(count, options, limit, face.decode)
        penal = options.repetition_penalty != 1.0
        self._seen = torch.zeros((count, vocabulary), dtype=torch.bool, device=device) if penal else None

    def begin(self, row: int, request: Request) -> None:
        """Give a free row to a request."""
        self.rows.begin(row, request)
        if self._seen is not None:
            self._seen[row] = False
            self._seen[row, torch.tensor(request.prompt, device=self.device)] = True

    def take(self, logits: Tensor) -> np.ndarray:
        """Choose a token for each live row from logits [rows, vocabulary]; the rows that ended with it.

        Raises:
            NotFinite: the model gave numbers that are not finite.
        """
        rows, options = self.rows, self.options
        live = np.flatnonzero(rows.live)
        uniforms = torch.from_numpy(rows.next_uniforms()).to(self.device)
        short = torch.from_numpy(rows.short()).to(self.device) if options.holds_on else None
        choice: Choice = choose(logits, uniforms, options, self._seen, short)
        top = None if choice.top is None else (choice.top[0].cpu().numpy(), choice.top[1].cpu().numpy())
        sampling = None if choice.sampling is None else choice.sampling.cpu().numpy()
        logprobs = choice.logprobs.cpu().numpy()
        if not np.isfinite(logprobs).all():
            raise NotFinite("the model's logits are not finite numbers", "use an earlier checkpoint, or float32")
        ended = rows.take(choice.ids.cpu().numpy(), logprobs, sampling, top)
        if self._seen is not None:
            self._seen[torch.from_numpy(live), torch.from_numpy(rows.last[live])] = True
        if self.face.listen:
            for row in live:
                request, at = rows.request[row], slice(rows.taken[row] - 1, rows.taken[row])
                assert request is not None
                self.face.listen(request.number, tuple(rows.ids[row, at].tolist()), rows.logprobs[row, at].copy())
        return ended

    def close(self, row: int, **more: object) -> None:
        """Tell of an ended row, and free it."""
        self.face.tell(*self.rows.close(row, **more))

    def last(self) -> tuple[Tensor, Tensor]:
        """The newest token of each row and its place, int64 [rows]; 0 in free rows."""
        return torch.from_numpy(self.rows.last).to(self.device), torch.from_numpy(self.rows.place).to(self.device)

    def keep(self, rows: Sequence[int] | np.ndarray) -> Tensor:
        """Go on with these rows alone; the same as a tensor."""
        index = torch.as_tensor(np.asarray(rows), device=self.device)
        self.rows.keep(rows)
        self._seen = None if self._seen is None else self._seen[index]
        return index
