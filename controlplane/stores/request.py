"""Bodies of the calls about stores."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

MAX_TEAMS = 200


class NewStore(BaseModel):
    """A store's description. `owner` is an organisation's name or id; default: the project's, else one's own."""

    name: str = Field(max_length=200)
    type: str = Field(max_length=16, description="s3, google, azure or swift.")
    configuration: dict[str, Any] = Field(default_factory=dict)
    access_mode: str = Field("", max_length=32, description="public, single_project, teams or owner_organization.")
    allow_read: bool = True
    allow_write: bool = True
    owner: str = Field("", max_length=200)
    project: str | None = Field(None, max_length=64)
    teams: list[str] = Field(default_factory=list, max_length=MAX_TEAMS)


class StoreChanges(BaseModel):
    """What is to differ; of `configuration` what is named."""

    name: str | None = Field(None, max_length=200)
    configuration: dict[str, Any] | None = None
    access_mode: str | None = Field(None, max_length=32)
    allow_read: bool | None = None
    allow_write: bool | None = None
    teams: list[str] | None = Field(None, max_length=MAX_TEAMS)


class Adoption(BaseModel):
    """An object that is there already, and the project that is to know it."""

    url: str = Field(max_length=4096)
    project: str = Field(max_length=64)
