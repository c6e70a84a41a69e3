"""The tables of `unclip.db`. A change here needs a file in `migrations/versions/`."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    false,
)

metadata = MetaData()

jobs = Table(
    "jobs",
    metadata,
    Column("number", Integer, primary_key=True),  # in the order of arrival
    Column("id", Text, nullable=False, unique=True),
    Column("owner", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("created", Float, nullable=False),
    Column("started", Float, nullable=False, server_default="0"),
    Column("finished", Float, nullable=False, server_default="0"),
    Column("deaths", Integer, nullable=False, server_default="0"),  # of workers that drew it
    Column(
        "interrupted", Integer, nullable=False, server_default="0"
    ),  # starts that found it running
    Column("model", Text, nullable=False),
    Column("batch", Text, nullable=False),  # digest of what one batch has in common, or empty
    Column("pictures", Integer, nullable=False),  # that it draws
    Column("fingerprint", Text, nullable=False),
    Column("spec", JSON, nullable=False),
    Column("failure", JSON(none_as_null=True)),
    Index("jobs_by_state", "state", "number"),
    Index("jobs_by_owner", "owner", "number"),
    Index("jobs_by_finish", "finished", "number"),
)

inputs = Table(  # pictures that jobs read
    "inputs",
    metadata,
    Column("job", ForeignKey("jobs.number", ondelete="CASCADE"), primary_key=True),
    Column("digest", Text, primary_key=True),
    Column("bytes", Integer, nullable=False),
    Index("inputs_by_digest", "digest", "bytes"),
)

pictures = Table(
    "pictures",
    metadata,
    Column("number", Integer, primary_key=True),  # in the order of arrival
    Column("id", Text, nullable=False, unique=True),
    Column("job", ForeignKey("jobs.number", ondelete="CASCADE"), nullable=False),
    Column("owner", Text, nullable=False),
    Column("created", Float, nullable=False),
    Column("seed", Integer, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("native_width", Integer, nullable=False),
    Column("native_height", Integer, nullable=False),
    Column("bytes", Integer, nullable=False),
    Column("format", Text, nullable=False),
    Column("words", Text, nullable=False, server_default=""),  # of its prompts, case folded
    Column("favourite", Boolean, nullable=False, server_default=false()),
    Column("deleted", Float, nullable=False, server_default="0"),  # when; 0: it is there
    Index("pictures_by_owner", "owner", "number"),
    Index("pictures_by_job", "job", "number"),
    Index("pictures_by_deletion", "deleted", "number"),
)

tags = Table(
    "tags",
    metadata,
    Column("picture", ForeignKey("pictures.number", ondelete="CASCADE"), primary_key=True),
    Column("name", Text, primary_key=True),
    Index("tags_by_name", "name", "picture"),
)

collections = Table(
    "collections",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("owner", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("created", Float, nullable=False),
    UniqueConstraint("owner", "name"),
)

collected = Table(
    "collected",
    metadata,
    Column("collection", ForeignKey("collections.number", ondelete="CASCADE"), primary_key=True),
    Column("picture", ForeignKey("pictures.number", ondelete="CASCADE"), primary_key=True),
    Index("collected_by_picture", "picture"),
)
