"""Search, favourites, tags, collections and undoable deletion of pictures."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_WORDS = ("prompt", "source", "target", "a", "b")


def upgrade() -> None:
    """Add columns and tables, and find the words of the pictures that are there."""
    op.add_column("pictures", sa.Column("words", sa.Text, nullable=False, server_default=""))
    op.add_column(
        "pictures", sa.Column("favourite", sa.Boolean, nullable=False, server_default=sa.false())
    )
    op.add_column("pictures", sa.Column("deleted", sa.Float, nullable=False, server_default="0"))
    op.create_index("pictures_by_deletion", "pictures", ["deleted", "number"])
    op.create_table(
        "tags",
        sa.Column(
            "picture",
            sa.Integer,
            sa.ForeignKey("pictures.number", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("name", sa.Text, primary_key=True),
    )
    op.create_index("tags_by_name", "tags", ["name", "picture"])
    op.create_table(
        "collections",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.UniqueConstraint("owner", "name"),
    )
    op.create_table(
        "collected",
        sa.Column(
            "collection",
            sa.Integer,
            sa.ForeignKey("collections.number", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column(
            "picture",
            sa.Integer,
            sa.ForeignKey("pictures.number", ondelete="CASCADE"),
            primary_key=True,
        ),
    )
    op.create_index("collected_by_picture", "collected", ["picture"])
    _find_words(op.get_bind())


def _find_words(connection: sa.Connection) -> None:
    """As the store found them when this was written, which later versions may do otherwise."""
    update = sa.text("UPDATE pictures SET words = :words WHERE job = :job")
    rows = connection.execute(sa.text("SELECT number, spec FROM jobs WHERE state = 'done'"))
    for number, spec in rows.all():
        fields = json.loads(spec)["fields"]
        values = [fields.get(name) for name in _WORDS]
        texts = [one for value in values for one in (value if isinstance(value, list) else [value])]
        words = " ".join(text for text in texts if isinstance(text, str)).casefold()
        clean = words.encode("utf-8", "replace").decode("utf-8")
        connection.execute(update, {"words": clean, "job": number})
