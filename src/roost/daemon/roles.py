"""`PUT /roost/v1/roles/{role}`: what `roost use` does, for whoever speaks HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from roost.api import RoleChange, RoleReport
from roost.catalog.spec import ModelSpec
from roost.catalog.types import CatalogView, KnownIds
from roost.config.settings import TOOLS, Settings
from roost.daemon.status import Sources, role_report
from roost.errors import ModelNotFound, Refused
from roost.gateway.elsewhere import PairedModels
from roost.registry.resolve import split_node
from roost.registry.types import AUXILIARY_ROLES, CHAT_ROLES
from roost.registry.write import is_role_name, set_role
from roost.store.verdicts import Verdict


@dataclass(frozen=True)
class RoleWriter:
    catalog: CatalogView
    settings: Callable[[], Settings]
    verdict: Callable[[ModelSpec], Verdict | None]
    path: Path
    #: Reads the registry's file again.
    refresh: Callable[[], object]
    sources: Sources

    async def put(self, role: str, change: RoleChange) -> RoleReport:
        """Raises Refused for a name that cannot be a role and for a model that is not fit for it, ModelNotFound for an
        id that nobody here has, BadConfiguration when the file cannot be written."""
        if not is_role_name(role):
            raise Refused(f"cannot set role {role!r}: use letters, digits, dots, dashes, at most 64", param="role")
        if role not in (*CHAT_ROLES, *AUXILIARY_ROLES) and self.catalog.get(role) is not None:
            raise Refused(f"cannot set role {role}: a model has this id; choose another name", param="role")
        model_id, node = split_node(change.model, KnownIds(self.catalog))
        if node not in (None, self.sources.node):
            return await self._put_elsewhere(role, change.model, model_id, node or "")
        found = self.catalog.get(model_id)
        if found is None:
            raise ModelNotFound(f'cannot point {role} at {model_id!r}: no such model here; see "roost models list"')
        if isinstance(found, ModelSpec) and not change.force:
            self._check_tools(role, found)
        return await self._written(role, change.model)

    async def _put_elsewhere(self, role: str, target: str, name: str, node: str) -> RoleReport:
        paired = PairedModels(self.sources.nodes)
        if not paired.knows(node):
            raise ModelNotFound(
                f'cannot point {role} at {target!r}: no machine of the name {node!r} is paired; see "roost node list"'
            )
        paired.meaning(node, name, target)
        return await self._written(role, target)

    async def _written(self, role: str, target: str) -> RoleReport:
        await asyncio.to_thread(set_role, self.path, role, target)
        self.refresh()
        report = role_report(self.sources, role)
        assert report is not None
        return report

    def _check_tools(self, role: str, model: ModelSpec) -> None:
        if TOOLS not in self.settings().required(role):
            return
        verdict = self.verdict(model)
        if verdict is None or not verdict.passed:
            raise Refused(not_fit(role, model.id, verdict), param="model")


def not_fit(role: str, model_id: str, verdict: Verdict | None) -> str:
    """Why a model may not have a role that requires tools."""
    if verdict is None:
        found, mend = "it was not verified as it is served now", f'run "roost models verify {model_id}"'
    else:
        found, mend = f"it was found unfit ({'; '.join(verdict.reasons)})", "choose another model"
    return f"cannot point {role} at {model_id}: the role requires tools and {found}; {mend}, or force it"
