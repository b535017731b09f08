"""The database: schema, migrations, typed queries. Other rooms see protocols; only daemon and batch build it."""
