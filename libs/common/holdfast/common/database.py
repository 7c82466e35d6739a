"""The only way to the database: one pool, one commit, one retry.

`Database.run` gives an operation a transaction that works for one organization, commits it and answers, or runs it
again when the database asks for that. Nothing else in the code base commits.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

import psycopg
import structlog
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_random_exponential

from holdfast.common import database_checks, telemetry
from holdfast.common.database_errors import (
    CommitTimeoutError,
    StartRefused,
    classify,
    is_retryable,
    login_refused,
    overloaded,
    translated,
    unavailable,
)
from holdfast.common.database_exchange import Rows, Sender, Statement, roll_back
from holdfast.common.database_pipeline import Pipeline
from holdfast.common.database_transaction import Transaction, begin, checked_organization, driver_of
from holdfast.common.metrics import Metrics
from holdfast.common.roles import checked_name

__all__ = ["Database", "Pipeline", "Rows", "Sender", "StartRefused", "Statement", "Transaction"]

T = TypeVar("T")
_LOG = structlog.get_logger("holdfast.database")

# How long a cancelled caller waits for its transaction to end; after that the database sees it through alone.
_CANCEL_GRACE_SECONDS: Final = 0.25
_CLEANUP_SECONDS: Final = 5.0
_CLOSE_SECONDS: Final = 20.0
_RETRY_PAUSE_SECONDS: Final = 0.03
_RETRY_PAUSE_SECONDS_MAX: Final = 1.0
_COMMIT: Final = Statement("COMMIT")


class _Progress:
    __slots__ = ("committing",)

    def __init__(self) -> None:
        self.committing = False


_Attempt = Callable[[_Progress], Coroutine[Any, Any, T]]
"""One run of a transaction, from BEGIN to COMMIT."""


class Database:
    """A pool of connections as one role to one schema.

    `pool_size` bounds the connections, `waiting_max` the callers that wait for one (more are refused at once),
    `pool_timeout_seconds` how long. `retry_limit` is how often a transaction runs at most. The other limits are set on
    every session. Build it anywhere; `start` needs the running loop.
    """

    def __init__(  # noqa: PLR0913 (limits, each with its default)
        self,
        *,
        dsn: str,
        pool_size: int,
        application_name: str,
        schema: str,
        allow_cross_organization: bool = False,
        metrics: Metrics | None = None,
        retry_limit: int = 6,
        waiting_max: int | None = None,
        pool_timeout_seconds: float = 3.0,
        statement_timeout_seconds: float = 5.0,
        lock_timeout_seconds: float = 2.0,
        idle_in_transaction_timeout_seconds: float = 10.0,
        commit_timeout_seconds: float = 10.0,
        connect_timeout_seconds: int = 3,
        start_timeout_seconds: float = 30.0,
    ) -> None:
        self.schema = checked_name(schema)
        self._name = application_name
        self._pool_size = pool_size
        self._cross = allow_cross_organization
        self._metrics = metrics
        self._retry_limit = retry_limit
        self._waiting_max = pool_size * 8 if waiting_max is None else waiting_max
        self._pool_timeout_seconds = pool_timeout_seconds
        self._commit_timeout_seconds = commit_timeout_seconds
        self._start_timeout_seconds = start_timeout_seconds
        given = conninfo_to_dict(dsn)
        limits = {
            "timezone": "UTC",
            "statement_timeout": f"{statement_timeout_seconds * 1000:.0f}",
            "lock_timeout": f"{lock_timeout_seconds * 1000:.0f}",
            "idle_in_transaction_session_timeout": f"{idle_in_transaction_timeout_seconds * 1000:.0f}",
        }
        self._connect = {
            **given,
            "application_name": application_name,
            "connect_timeout": connect_timeout_seconds,
            "options": " ".join(
                (str(given.get("options") or ""), *(f"-c {name}={value}" for name, value in limits.items()))
            ),
            # A peer that vanished without a word is noticed within about ten seconds.
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": 10_000,
        }
        self._engine: AsyncEngine | None = None
        self._slots = asyncio.Semaphore(pool_size)
        self._waiting = 0
        self._owned: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        """Open the pool and check the database.

        Waits up to `start_timeout_seconds` for a server that is starting, then raises DomainError
        DEPENDENCY_UNAVAILABLE. Raises StartRefused, naming the setting, on a database without durability, a role that
        could get around row-level security, or a refused login.
        """
        if self._engine is not None:
            return
        engine = create_async_engine(
            "postgresql+psycopg://",
            connect_args=self._connect,
            isolation_level="AUTOCOMMIT",  # the driver's name for: BEGIN is ours to send, see `begin`
            pool_size=self._pool_size,
            max_overflow=0,
            pool_timeout=self._pool_timeout_seconds,
            pool_recycle=1_800,
            hide_parameters=True,
        )
        try:
            await self._check_start(engine)
        except BaseException:
            await engine.dispose()
            raise
        self._engine = engine
        if self._metrics is not None:
            # Added and taken away, not set: a process may have a pool for its service and one for its relay.
            self._metrics.db_pool_size.inc(self._pool_size)

    async def close(self) -> None:
        """Refuse new work, wait for the transactions under way (bounded), close the connections."""
        engine, self._engine = self._engine, None
        if self._owned:
            _, late = await asyncio.wait(self._owned, timeout=_CLOSE_SECONDS)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=_CLEANUP_SECONDS)
        if engine is not None:
            await engine.dispose()
            if self._metrics is not None:
                self._metrics.db_pool_size.dec(self._pool_size)

    async def run(
        self,
        operation: Callable[[Transaction], Awaitable[T]],
        *,
        organization_id: str | None,
        deadline: float | None = None,
        snapshot: bool = False,
    ) -> T:
        """Run `operation` in one transaction of `organization_id`, commit, and return its result.

        The operation may run several times: on a serialization failure, a deadlock, or when the connection is lost,
        even during COMMIT, where the first run may have taken effect. It must therefore be safe to run again, by a
        RequestKey or by being idempotent in itself, and must not call anything outside the database. Retries end at
        `retry_limit` and before `deadline` (`loop.time()`). An exception of the operation rolls back and is passed on.

        A caller that is cancelled before COMMIT leaves nothing behind; from COMMIT on, the transaction is finished.

        All statements of a `snapshot` see the same moment (REPEATABLE READ), it writes nothing and waits for nobody.
        While it lasts the server keeps every version of every row that was there at that moment: keep it short.

        `organization_id=None` is for databases with `allow_cross_organization`. Raises DomainError
        DEPENDENCY_UNAVAILABLE or OVERLOADED; sqlalchemy.exc.IntegrityError and other faults of statements as they are.
        """
        self._check(organization_id)

        def attempt(progress: _Progress) -> Coroutine[Any, Any, T]:
            return self._attempt(operation, organization_id, progress, snapshot=snapshot)

        return await self._traced(attempt, deadline)

    async def run_pipeline(
        self,
        operation: Callable[[Pipeline], Awaitable[T]],
        *,
        organization_id: str | None,
        deadline: float | None = None,
    ) -> T:
        """Like `run`, in as few round trips as the operation needs: BEGIN travels with the first, COMMIT with the last.

        The operation gets a Pipeline, sends statements together, and leaves in `last` those that travel with COMMIT.
        """
        self._check(organization_id)

        def attempt(progress: _Progress) -> Coroutine[Any, Any, T]:
            return self._attempt_pipeline(operation, organization_id, progress)

        return await self._traced(attempt, deadline)

    async def run_statements(self, *statements: Statement, organization_id: str | None) -> list[Rows]:
        """Run statements that need nothing of each other's answers, in one transaction and one round trip.

        Gives the rows of each. Otherwise like `run_pipeline`.
        """

        async def all_with_commit(pipeline: Pipeline) -> Pipeline:
            pipeline.last.extend(statements)
            return pipeline

        return (await self.run_pipeline(all_with_commit, organization_id=organization_id)).answers

    def _check(self, organization_id: str | None) -> None:
        if organization_id is not None:
            checked_organization(organization_id)
        elif not self._cross:
            message = f"{self._name} works inside one organization only"
            raise ValueError(message)

    async def _traced(self, attempt: _Attempt[T], deadline: float | None) -> T:
        if not telemetry.is_recorded():
            return await self._run(attempt, deadline)
        with telemetry.span("transaction", attributes={"db.system.name": "postgresql", "db.namespace": self.schema}):
            return await self._run(attempt, deadline)

    async def _run(self, attempt: _Attempt[T], deadline: float | None) -> T:
        try:
            return await self._first_or_again(attempt, deadline)
        except (DBAPIError, psycopg.Error, CommitTimeoutError) as error:
            told = translated(error)
            if told is None:
                raise
            raise told from error

    async def _first_or_again(self, attempt: _Attempt[T], deadline: float | None) -> T:
        try:
            return await self._owned_attempt(attempt)
        except (DBAPIError, psycopg.Error) as error:
            if not is_retryable(error) or self._retry_limit < 2:  # noqa: PLR2004 (two = once more)
                raise
            pause = random.uniform(0, _RETRY_PAUSE_SECONDS)  # noqa: S311 (spreads retries, keeps no secret)
            if deadline is not None and asyncio.get_running_loop().time() + pause >= deadline:
                raise
            self._note_retry(error)
        await asyncio.sleep(pause)
        return await self._again(attempt, deadline)

    async def _again(self, attempt: _Attempt[T], deadline: float | None) -> T:
        """Retry after a first attempt that failed; this path alone pays for the retrying machinery."""
        pause = wait_random_exponential(multiplier=_RETRY_PAUSE_SECONDS, max=_RETRY_PAUSE_SECONDS_MAX)
        loop = asyncio.get_running_loop()

        def out_of_time(state: RetryCallState) -> bool:
            return deadline is not None and loop.time() + state.upcoming_sleep >= deadline

        def note(state: RetryCallState) -> None:
            if state.outcome is not None and (error := state.outcome.exception()) is not None:
                self._note_retry(error)

        limit = stop_after_attempt(self._retry_limit - 1)
        retrying = AsyncRetrying(
            retry=retry_if_exception(is_retryable),
            stop=lambda state: limit(state) or out_of_time(state),
            wait=pause,
            before_sleep=note,
            reraise=True,
        )
        return await retrying(self._owned_attempt, attempt)

    def _note_retry(self, error: BaseException) -> None:
        failure = classify(error)
        cause = "lost" if failure is None else failure.value
        _LOG.info("transaction runs again", database=self._name, cause=cause)
        if self._metrics is not None:
            self._metrics.db_retries_total.labels(cause).inc()

    async def _owned_attempt(self, attempt: _Attempt[T]) -> T:
        """Run one attempt in a task of our own: a cancelled caller can neither tear a COMMIT nor a connection."""
        progress = _Progress()
        task = asyncio.create_task(attempt(progress))
        self._owned.add(task)
        task.add_done_callback(self._disown)
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError:
            if not progress.committing:
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait((task,), timeout=_CANCEL_GRACE_SECONDS)
            raise
        return task.result()

    def _disown(self, task: asyncio.Task[Any]) -> None:
        self._owned.discard(task)
        if not task.cancelled():
            task.exception()  # seen: the caller of a cancelled attempt is no longer there to look

    async def _attempt(
        self,
        operation: Callable[[Transaction], Awaitable[T]],
        organization_id: str | None,
        progress: _Progress,
        *,
        snapshot: bool,
    ) -> T:
        async with self._connection() as connection:
            await begin(connection, organization_id, snapshot=snapshot)
            transaction = Transaction(connection, schema=self.schema, organization_id=organization_id)
            result = await operation(transaction)
            progress.committing = True
            await self._commit(transaction)
            return result

    async def _attempt_pipeline(
        self, operation: Callable[[Pipeline], Awaitable[T]], organization_id: str | None, progress: _Progress
    ) -> T:
        async with self._connection() as connection:
            pipeline = Pipeline(connection, schema=self.schema, organization_id=organization_id)
            result = await operation(pipeline)
            if pipeline.begun or pipeline.last:
                progress.committing = True
                pipeline.answers = await self._commit(pipeline, *pipeline.last)
            return result

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection]:
        """Borrow a connection for one transaction: after an error it is rolled back, or thrown away."""
        async with self._slot() as engine:
            connection = await engine.connect()
            try:
                yield connection
            except BaseException:
                self._count("rolled_back")
                await self._discard(connection)
                raise
            self._count("committed")
            await connection.close()

    async def _commit(self, transaction: Sender, *last: Statement) -> list[Rows]:
        """Commit, with what travels along; gives the rows of that."""
        try:
            async with asyncio.timeout(self._commit_timeout_seconds):
                return (await transaction.send(*last, _COMMIT))[:-1]
        except TimeoutError:
            raise CommitTimeoutError from None

    def _count(self, outcome: str) -> None:
        if self._metrics is not None:
            self._metrics.db_transactions_total.labels(outcome).inc()

    async def _discard(self, connection: AsyncConnection) -> None:
        """Roll back and return the connection, or throw it away; the error under way is the one that counts."""
        try:
            async with asyncio.timeout(_CLEANUP_SECONDS):
                await connection.rollback()
                if not connection.invalidated:  # asked for its driver, a lost one would connect anew
                    await roll_back(driver_of(connection))
                await connection.close()
        except (Exception, asyncio.CancelledError):  # noqa: BLE001 (whatever it was, the connection goes)
            with contextlib.suppress(Exception):
                await connection.invalidate()
            with contextlib.suppress(Exception):
                await connection.close()

    @contextlib.asynccontextmanager
    async def _slot(self) -> AsyncIterator[AsyncEngine]:
        """Wait for the right to use a connection; the pool behind it never has to make anybody wait."""
        if self._slots.locked():
            await self._wait_for_slot()
        else:
            await self._slots.acquire()
        if self._metrics is not None:
            self._metrics.db_pool_in_use.inc()
        try:
            engine = self._engine
            if engine is None:
                raise unavailable()
            yield engine
        finally:
            self._slots.release()
            if self._metrics is not None:
                self._metrics.db_pool_in_use.dec()

    async def _wait_for_slot(self) -> None:
        if self._waiting >= self._waiting_max:
            raise overloaded()
        begin = asyncio.get_running_loop().time()
        self._waiting += 1
        if self._metrics is not None:
            self._metrics.db_pool_waiting.inc()
        try:
            async with asyncio.timeout(self._pool_timeout_seconds):
                await self._slots.acquire()
        except TimeoutError:
            raise unavailable() from None
        finally:
            self._waiting -= 1
            if self._metrics is not None:
                self._metrics.db_pool_waiting.dec()
                self._metrics.db_pool_wait_seconds.observe(asyncio.get_running_loop().time() - begin)

    async def _check_start(self, engine: AsyncEngine) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._start_timeout_seconds
        pause = 0.05
        while True:
            try:
                async with engine.connect() as connection:
                    await database_checks.check(connection, schema=self.schema)
                    return
            except DBAPIError as error:
                state = error.orig.sqlstate if isinstance(error.orig, psycopg.Error) else None
                refused = login_refused(error, state)
                if refused is not None:
                    raise StartRefused(f"the database refuses the login of {self._name}: {refused}") from None
                if not is_retryable(error):
                    raise
                if loop.time() + pause >= deadline:
                    raise unavailable() from error
            await asyncio.sleep(pause)
            pause = min(pause * 2, 1.0)
