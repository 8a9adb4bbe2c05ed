"""What comes in: feeds, masters and events."""

import dagster as dg

from orchestration.policies import room
from orchestration.resources import MatineeResource


@dg.asset(**room("ingest"), kinds={"postgres", "json"})
def catalogue(context: dg.AssetExecutionContext, matinee: MatineeResource) -> dg.MaterializeResult:
    """Titles in PostgreSQL: every feed file in the inbox, upserted; lines that cannot be used are kept aside."""
    from ingest.catalog import ingest_feed
    from ingest.extra import check_of
    from matinee.db.connect import connect

    settings = matinee.settings()
    check, rejected = check_of(settings), 0
    with connect(settings) as connection:
        for feed in sorted((settings.home.inbox / "feeds").glob("*.jsonl")):
            summary = ingest_feed(connection, feed, check=check, publish=settings.feed_publishes)
            connection.commit()
            rejected += len(summary.rejected)
            context.log.info("%s: %s", feed.name, summary)
        row = connection.execute("SELECT count(*) FROM title").fetchone()
    return dg.MaterializeResult(metadata={"titles": row[0] if row else 0, "rejected lines": rejected})


@dg.asset(**room("ingest"), deps=[catalogue], kinds={"pyav"})
def masters(context: dg.AssetExecutionContext, matinee: MatineeResource) -> dg.MaterializeResult:
    """Video files in the media store: every file in the inbox, probed, hashed, copied and linked to its title."""
    from ingest.masters import ingest_masters, link
    from matinee.db.connect import connect

    settings = matinee.settings()
    inbox = settings.home.inbox / "masters"
    reserve = settings.disk_watermark_mb * 2**20
    with connect(settings, autocommit=True) as connection:  # each film commits by itself
        if inbox.is_dir():
            for outcome in ingest_masters(connection, inbox, settings.media, reserve_bytes=reserve):
                context.log.info("%s", outcome)
        link(connection)
        counts = dict(connection.execute("SELECT state, count(*) FROM master GROUP BY state").fetchall())
    return dg.MaterializeResult(metadata={"accepted": counts.get("accepted", 0), "refused": counts.get("refused", 0)})


@dg.asset(**room("ingest"), kinds={"redis", "parquet"})
def landing(matinee: MatineeResource) -> dg.MaterializeResult:
    """The lake's landing zone: everything that waited in the event log, as Parquet by received day."""
    from ingest.collector import drain

    summary = drain(matinee.settings())
    return dg.MaterializeResult(metadata={"events": summary.events, "dead letters": summary.dead})
