"""Jobs, the pictures that they read, and those that they drew."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "jobs",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("started", sa.Float, nullable=False, server_default="0"),
        sa.Column("finished", sa.Float, nullable=False, server_default="0"),
        sa.Column("deaths", sa.Integer, nullable=False, server_default="0"),
        sa.Column("interrupted", sa.Integer, nullable=False, server_default="0"),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("batch", sa.Text, nullable=False),
        sa.Column("pictures", sa.Integer, nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("spec", sa.JSON, nullable=False),
        sa.Column("failure", sa.JSON),
    )
    op.create_index("jobs_by_state", "jobs", ["state", "number"])
    op.create_index("jobs_by_owner", "jobs", ["owner", "number"])
    op.create_index("jobs_by_finish", "jobs", ["finished", "number"])
    op.create_table(
        "inputs",
        sa.Column(
            "job", sa.Integer, sa.ForeignKey("jobs.number", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("bytes", sa.Integer, nullable=False),
    )
    op.create_index("inputs_by_digest", "inputs", ["digest", "bytes"])
    op.create_table(
        "pictures",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column(
            "job", sa.Integer, sa.ForeignKey("jobs.number", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("seed", sa.Integer, nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("native_width", sa.Integer, nullable=False),
        sa.Column("native_height", sa.Integer, nullable=False),
        sa.Column("bytes", sa.Integer, nullable=False),
        sa.Column("format", sa.Text, nullable=False),
    )
    op.create_index("pictures_by_owner", "pictures", ["owner", "number"])
    op.create_index("pictures_by_job", "pictures", ["job", "number"])
