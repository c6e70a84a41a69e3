"""What alembic runs. `database.py` gives it the connection, in whose transaction all happens."""

from alembic import context

from unclip.server.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite changes a column by a copy of its table
)
with context.begin_transaction():
    context.run_migrations()
