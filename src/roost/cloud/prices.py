"""What a request costs: the settings' own prices, else those of genai-prices, which comes with a table of its own."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from roost.config.far import CloudModelSettings, CloudSettings

_MILLION = 1_000_000


class Prices:
    """`load` imports the table, which takes half a second, once; until then only the settings' prices are known."""

    def __init__(self) -> None:
        #: Asked with (url, model, prompt, cached, completion tokens); raises LookupError.
        self._table: Callable[[str, str, int, int, int], float] | None = None
        self._loaded = False

    def load(self) -> None:
        """Blocking, and nothing when it was done before."""
        if not self._loaded:
            self._table, self._loaded = _table(), True

    @property
    def has_table(self) -> bool:
        """Whether the package is installed."""
        self.load()
        return self._table is not None

    def usd(
        self, cloud: CloudSettings, model_id: str, prompt_tokens: int, cached_tokens: int, completion_tokens: int
    ) -> float | None:
        """US dollars; cached tokens are part of the prompt's. None: nobody knows."""
        own = cloud.models.get(model_id)
        if own is not None and (usd := _own(own, prompt_tokens, completion_tokens)) is not None:
            return usd
        self.load()
        if self._table is None:
            return None
        try:
            return self._table(cloud.url, model_id, prompt_tokens, min(cached_tokens, prompt_tokens), completion_tokens)
        except LookupError:
            return None

    def known(self, cloud: CloudSettings, model_id: str) -> bool:
        return self.usd(cloud, model_id, 1, 0, 1) is not None


def _own(model: CloudModelSettings, prompt_tokens: int, completion_tokens: int) -> float | None:
    """By the settings; what came from a cache is counted in full, which is never too little."""
    if model.usd_per_million_input is None or model.usd_per_million_output is None:
        return None
    return (prompt_tokens * model.usd_per_million_input + completion_tokens * model.usd_per_million_output) / _MILLION


def _table() -> Callable[[str, str, int, int, int], float] | None:
    """None where the package is not installed. It never asks the network."""
    try:
        import genai_prices
    except ImportError:
        return None

    # A request's price is looked up twice, and an id that nobody knows again and again.
    @functools.lru_cache(maxsize=512)
    def known(url: str, model_id: str) -> tuple[str, str] | None:
        try:
            found = genai_prices.calc_price(genai_prices.Usage(input_tokens=1), model_id, provider_api_url=url)
        except LookupError:
            return None
        return found.provider.id, found.model.id

    def usd(url: str, model_id: str, prompt: int, cached: int, completion: int) -> float:
        if (ids := known(url, model_id)) is None:
            raise LookupError(model_id)
        used: Any = genai_prices.Usage(input_tokens=prompt, cache_read_tokens=cached, output_tokens=completion)
        return float(genai_prices.calc_price(used, ids[1], provider_id=ids[0]).total_price)

    return usd
