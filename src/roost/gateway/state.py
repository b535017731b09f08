"""What one gateway application holds: its dependencies, its counters, and policies settled once per settings value."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from aiohttp import web

from roost.catalog.spec import ModelSpec, UnavailableModel
from roost.catalog.types import CatalogView, KnownIds
from roost.config.settings import TOOLS, Knobs, Settings
from roost.errors import ModelNotFound, ModelUnavailable
from roost.gateway.affinity import Affinity
from roost.gateway.deps import GatewayDeps
from roost.gateway.elsewhere import PairedModels
from roost.gateway.filters import BodyPolicy
from roost.gateway.held import Held
from roost.gateway.hosts import allowed_hosts
from roost.gateway.metrics import Metrics
from roost.gateway.quotas import Quotas
from roost.gateway.redirects import ActiveProfile, pinned, selected
from roost.registry.resolve import aliases_of, all_roles, resolve
from roost.registry.types import Redirect, Resolution
from roost.routing.decisions import DecisionRing


@dataclass
class Gateway:
    """One listener's application. `control` is the unix socket of the CLI: no key, no Host check."""

    deps: GatewayDeps
    metrics: Metrics
    decisions: DecisionRing
    control: bool = False
    profile: ActiveProfile = field(default_factory=ActiveProfile)
    held: Held = field(default_factory=Held)
    quotas: Quotas = field(default_factory=Quotas)
    #: The TLS listener for paired machines and for clients with a key.
    door: bool = False
    affinity: Affinity = field(default_factory=Affinity)
    _settled: Settled | None = field(default=None, repr=False)

    def settled(self) -> Settled:
        """The policies of the settings that hold now; made anew when a reload swapped the settings."""
        settings = self.deps.settings()
        if self._settled is None or self._settled.settings is not settings:
            self._settled = Settled(settings)
        return self._settled

    def resolve(self, name: str, *, first_only: bool = False) -> Resolution:
        """What a name means now. `first_only`: of a selector the first target, however it stands. Raises
        ModelNotFound."""
        return self._resolve(name, self._redirects(first_only=first_only))

    def resolve_anywhere(self, name: str, *, first_only: bool = False) -> Resolution:
        """The same, with the models of paired machines. Raises ModelNotFound."""
        return self._resolve(name, self._redirects(first_only=first_only), PairedModels(self.deps.nodes))

    def resolve_held(self, name: str) -> Resolution:
        """The same, and the id of a worker whose model is not known here any more. Raises ModelNotFound."""
        try:
            return self.resolve(name)
        except ModelNotFound:
            if any(view.model_id == name for view in self.deps.pool.views()):
                return Resolution(name, name, None, None)
            raise

    def _resolve(
        self,
        name: str,
        redirects: Sequence[Callable[[str], Redirect | None]] = (),
        elsewhere: PairedModels | None = None,
    ) -> Resolution:
        return resolve(
            name,
            self.deps.registry().registry,
            known=KnownIds(self.deps.catalog),
            aliases=self.settled().aliases,
            local_node=self.deps.node,
            known_ids=_ids(self.deps.catalog),
            redirects=redirects,
            elsewhere=elsewhere,
        )

    def _redirects(self, *, first_only: bool) -> tuple[Callable[[str], Redirect | None], ...]:
        settings = self.deps.settings()
        if not settings.profiles and not settings.selectors:
            return ()
        choosing = selected(settings.selectors, self._resolve, self.deps.pool.views, first_only=first_only)
        return (pinned(self.profile.pins(settings)), choosing)

    def knows(self, name: str) -> bool:
        """Whether a role, model, alias, selector or pin has exactly this name."""
        settings = self.deps.settings()
        if name in settings.selectors or name in self.profile.pins(settings):
            return True
        if name in self.roles() or name in self.settled().aliases:
            return True
        return self.deps.catalog.get(name) is not None

    def roles(self) -> tuple[str, ...]:
        """Every role that a request can mean."""
        return all_roles(self.deps.registry().registry, KnownIds(self.deps.catalog))

    def spec(self, resolution: Resolution) -> ModelSpec:
        """The model of a resolution. Raises ModelUnavailable with the reason (volume not mounted, …)."""
        found = self.deps.catalog.get(resolution.model_id)
        if isinstance(found, ModelSpec):
            return found
        reason = found.reason if isinstance(found, UnavailableModel) else "its files are gone"
        raise ModelUnavailable(
            f'cannot serve {resolution.model_id}: {reason}; "roost models show {resolution.model_id}" tells more'
        )


@dataclass
class Settled:
    """Everything derived from one settings value, kept because deriving it costs more than a request may."""

    settings: Settings
    aliases: Mapping[str, str] = field(init=False)
    _policies: dict[tuple[str, str], BodyPolicy] = field(default_factory=dict)
    _contexts: dict[str, int | None] = field(default_factory=dict)
    _hosts: dict[tuple[str, int], frozenset[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.aliases = aliases_of(self.settings.models)

    def far_policy(self, resolution: Resolution) -> BodyPolicy:
        """The filters of the role alone: another machine has its own for its models."""
        role = self.settings.roles.get(resolution.role or "")
        return BodyPolicy.settle((role.filters,) if role else (), Knobs())

    def policy(self, resolution: Resolution) -> BodyPolicy:
        """The filters and caps for this name and its model; the name's come last and so win."""
        name = resolution.role or resolution.alias or resolution.model_id
        key = (resolution.model_id, name)
        if (policy := self._policies.get(key)) is None:
            models, roles = self.settings.models, self.settings.roles
            own = models.get(resolution.model_id)
            filters = [own.filters, *([own.name_filters[name]] if name in own.name_filters else [])] if own else []
            filters += [roles[name].filters] if name in roles else []
            needs = TOOLS in self.settings.required(resolution.role) if resolution.role else False
            knobs = self.settings.knobs(resolution.model_id)
            policy = BodyPolicy.settle(tuple(filters), knobs, requires_tools=needs)
            self._policies[key] = policy
        return policy

    def context_length(self, spec: ModelSpec) -> int | None:
        """The largest window that this model may get here, in tokens; None: unknown."""
        if spec.id not in self._contexts:
            self._contexts[spec.id] = self.settings.knobs(spec.id).context or spec.context_length
        return self._contexts[spec.id]

    def hosts(self, address: str, port: int) -> frozenset[str]:
        """The Host values accepted on a listener."""
        key = (address, port)
        if key not in self._hosts:
            gateway = self.settings.gateway
            self._hosts[key] = allowed_hosts(address, port, gateway.allowed_hosts, gateway.tls_certificate is not None)
        return self._hosts[key]


def _ids(catalog: CatalogView) -> Iterator[str]:
    """Every id, looked up only when somebody walks them."""
    yield from (model.id for model in catalog.all())


GATEWAY = web.AppKey("gateway", Gateway)
