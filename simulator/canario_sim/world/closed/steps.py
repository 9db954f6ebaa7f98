"""What happens when requests act on each other, event by event; see `jit` and `columns`.

One source, two ways to run it: on lists as it stands, on arrays compiled. So it indexes, compares
and computes, and makes no objects. `s` is the state (`columns.State`), which is changed in place,
`r` the rules (`columns.Rules`), `q` the requests to come (`columns.Queue`). It is one file because
numba looks only at a function's own to learn whether what it has kept is still right.

A job is one attempt of a client, a call of a dependency, or a loss of a server. It stands in line
at a station (0 the baseline, 1 the canary, from 2 on the dependencies), is served there, and keeps
its server until the calls that it makes have come back.
"""

from __future__ import annotations

from typing import Any

INF = float("inf")

# Kinds of events, in the order in which those of one instant happen; arrivals come after them.
LOSE, READY, SCALE, WAKE, DONE, DEADLINE, RETRY = 0, 1, 2, 3, 4, 5, 6
# An event's order is its kind, and then when it was made: no rehearsal has 2^48 events.
ORDER = 1 << 48

# Why `advance` returns.
REACHED, MORE, FATES, GROW, FULL, BROKE = 0, 1, 2, 3, 4, 5

# What `State.n` counts.
EVENTS, SEQUENCE, FREE, TOLD, SIGNALS, FRESH, NEXT, ARRIVED, BREACH = 0, 1, 2, 3, 4, 5, 6, 7, 8
FIRST, RETRIES, TIMEOUTS, DENIED, GAVE_UP, FAST, UNDER_WAY = 9, 10, 11, 12, 13, 14, 15
# 16 is the canary's `UNDER_WAY`.
ENDED = 17
# … and what an event leads to: the places of an arrival, of a job that goes on, of one that is
# sent again, and of stations where something has changed; −1 for none.
ARRIVAL, ONWARD, AGAIN, TURN, OTHER_TURN = 18, 19, 20, 21, 22
NUMBERS = 23

# Flags of a job.
FAILED, GONE, OVER, FATED, GIVEN_UP = 1, 2, 4, 8, 16

# Whose job it is, where it is no other job's.
CLIENT, LOSS, NOBODY = -1, -2, -3

# What an observation's code says, as in `flights`; FAILED and GIVEN_UP as of a job.
SLOW, BROKEN, CANARY, FLAGS, NEUTRAL = 2, 4, 8, 32, 1 << 15

# Servers.
ABSENT, COMING, IDLE, BUSY, LEAVING = 0, 1, 2, 3, 4

# Circuit breakers.
CLOSED, OPEN, HALF_OPEN = 0, 1, 2

# Signals.
OPENED, RECOVERED, SCALED = 0, 1, 2

# What is whole by the rules may be off by this much when it has been added up.
EXACT = 1e-9

# Jobs that one event may add, and then some.
SPARE = 8

# The tables: each row of one begins at a place, which stands for it, and has so many columns.
# Jobs (`jobs`, of `r.row` columns): their state, what is known of the request, its fate by arm.
J_FLAGS, J_BROKEN, J_WHOSE, J_SERVER, J_STATION, J_PHASE, J_ATTEMPT = 0, 1, 2, 3, 4, 5, 6
J_AWAITED, J_NEXT, J_NUMBER, J_GENERATION, J_ARM = 7, 8, 9, 10, 11
J_KEY, J_BUCKET, J_ROUTE, J_PAYLOAD, J_SESSION, J_FATE, JOB = 12, 13, 14, 15, 16, 17, 19
REQUEST = JOB - J_KEY
# (`times`, the same rows) Then the request's draws: seconds on either arm; seconds and luck of
# each call; from `r.jitter` on the jitter of each wait.
J_AT, J_SECONDS, J_LUCK, J_DRAWS = 0, 1, 2, 3
CALLS = 2
# Observations (`told` and `told_times`) and signals.
T_CODE, T_KEY, T_NUMBER, T_ROUTE, TELLING = 0, 1, 2, 3, 4
T_DONE, T_AT = 0, 1
G_AT, G_KIND, G_OF, G_VALUE, SIGNAL = 0, 1, 2, 3, 4
# What is in flight, by arm (`seen`).
L_NUMBER, L_OVERDUE, L_UNANSWERED, L_GIVEN_UP, LOOK = 0, 1, 2, 3, 4
# Stations: `s.stations`, `s.station_times`, `r.stations`, `r.slowness`.
S_HEAD, S_TAIL, S_LENGTH, S_IDLE, S_BUSY, S_PRESENT, STATION = 0, 1, 2, 3, 4, 5, 6
S_WAKE, S_MEASURED, S_BUSY_SECONDS, S_PRESENT_SECONDS = 0, 1, 2, 3
R_SERVERS, R_FROM, R_UPTO = 0, 1, 2
R_COLD_SECONDS, R_COLD_FACTOR, R_CONTENTION = 0, 1, 2
# Servers: `servers`, `server_times`; and their pauses.
V_STATE, V_PAUSE, V_ORDERS, V_STATION, SERVER = 0, 1, 2, 3, 4
V_IDLE, V_READY = 0, 1
P_START, P_END, PAUSE = 0, 1, 2
# Calls of dependencies (`calls`, `call_times`), troubles, and breakers.
C_OPTIONAL, C_FAILURES, C_CALLS, C_TRIALS, C_TROUBLE, CALL = 0, 1, 2, 3, 4, 5
C_TIMEOUT, C_FAILS, C_SECONDS = 0, 1, 2
W_START, W_END, W_FAILS, W_FACTOR, W_ADDED, TROUBLE = 0, 1, 2, 3, 4, 5
B_STATE, B_GENERATION, B_TRIALS, B_GOOD, B_NEXT, B_FAILURES, BREAKER = 0, 1, 2, 3, 4, 5, 6
B_UNTIL, B_SINCE = 0, 1
# Autoscaling: `scaling`, `scale_times`.
A_LEAST, A_MEMORY, A_ADVICE, SCALING = 0, 1, 2, 4
A_EVERY, A_TARGET, A_TOLERANCE, A_DELAY = 0, 1, 2, 3


def advance(s: Any, r: Any, q: Any, until: float, weight: int) -> int:
    """Let happen what happens before `until`, or up to where something is needed.

    Args:
        s: The state.
        r: The rules.
        q: The requests to come, from `s.n[NEXT]` on.
        until: What happens at this instant is still to come.
        weight: Buckets below it go to the canary.

    Returns:
        REACHED; or MORE requests are needed, or FATES of the retries in `s.fresh`, or room for
        jobs (GROW); or what was told is to be taken away (FULL); or the canary BROKE a contract,
        in the observation before place `s.n[BREACH]`.
    """
    n = s.n
    while True:
        if n[FREE] < SPARE or n[EVENTS] > len(s.event_at) - r.spare_events:
            return GROW
        if n[TOLD] >= r.room or n[SIGNALS] >= r.room:
            return FULL
        more = n[NEXT] < len(q.at)
        if not more and n[ENDED] == 0:
            return MORE
        arrival = q.at[n[NEXT]] if more else INF
        if n[EVENTS] > 0 and s.event_at[0] <= arrival:
            now = s.event_at[0]
            if now >= until:
                return REACHED
            kind, what = s.event_key[0] // ORDER, s.event_of[0]
            if kind == RETRY and s.jobs[what + J_FLAGS] & FATED == 0:
                return FATES
            _pop(s)
            if kind == DONE:
                _done(s, r, what, now)
            elif kind == DEADLINE:
                _deadline(s, r, what, now)
            elif kind == RETRY:
                n[ARRIVAL] = what
            elif kind == LOSE:
                _lose(s, r, what, now)
            elif kind == SCALE:
                _scale(s, r, what, now)
            elif kind == READY:
                _ready(s, what, now)
            else:
                s.station_times[what + S_WAKE] = INF
                _turn(s, what)
        else:
            now = arrival
            if now >= until:
                return REACHED
            n[ARRIVAL] = _first(s, r, q, now)
        # What follows from it, each at one place in the program: compiled code is copied to
        # where it is called from.
        if n[ARRIVAL] >= 0:
            _arrive(s, r, n[ARRIVAL], now, weight)
            n[ARRIVAL] = -1
        if n[ONWARD] >= 0:
            _go_on(s, r, n[ONWARD], now)
            n[ONWARD] = -1
        if n[AGAIN] >= 0:
            _retry(s, r, n[AGAIN], now)
            if s.jobs[n[AGAIN] + J_FLAGS] & OVER:
                _end(s, n[AGAIN])
            n[AGAIN] = -1
        while n[TURN] >= 0:
            station = n[TURN]
            n[TURN] = n[OTHER_TURN]
            n[OTHER_TURN] = -1
            _dispatch(s, r, station, now)
        if n[BREACH] > 0:
            return BROKE


def look(
    n: Any,
    jobs: Any,
    times: Any,
    answered: Any,
    seen: Any,
    patience: Any,
    row: int,
    limit_ms: float,
    at: float,
    settle: bool,
) -> None:
    """Count into `seen` what had arrived before the instant `at` and has not ended.

    With `settle`, who has been waited for too long is given up: their ends will be told as such.
    The columns are the state's and the rules' that it takes: handing over all of them takes
    longer than looking.
    """
    for place in range(2 * LOOK):
        seen[place] = 0
    for job in range(0, len(jobs), row):
        if jobs[job + J_WHOSE] != CLIENT or jobs[job + J_NUMBER] == 0:
            continue
        since = times[job + J_AT]
        if jobs[job + J_FLAGS] & (OVER | GIVEN_UP) or since >= at:
            continue
        arm = jobs[job + J_ARM]
        if settle and at - since > patience[jobs[job + J_ROUTE]]:
            jobs[job + J_FLAGS] |= GIVEN_UP
            n[UNDER_WAY + arm] -= 1
            seen[LOOK * arm + L_GIVEN_UP] += 1
            continue
        seen[LOOK * arm + L_NUMBER] += 1
        if (at - since) * 1000 > limit_ms:
            seen[LOOK * arm + L_OVERDUE] += 1
        if since > answered[arm]:
            seen[LOOK * arm + L_UNANSWERED] += 1


# -- events, in a heap by instant and order


def _push(s: Any, at: float, kind: int, what: int) -> None:
    n, event_at, event_key, event_of = s.n, s.event_at, s.event_key, s.event_of
    place = n[EVENTS]
    n[EVENTS] += 1
    n[SEQUENCE] += 1
    key = kind * ORDER + n[SEQUENCE]
    while place > 0:
        up = (place - 1) >> 1
        if event_at[up] < at or (event_at[up] == at and event_key[up] < key):
            break
        event_at[place] = event_at[up]
        event_key[place] = event_key[up]
        event_of[place] = event_of[up]
        place = up
    event_at[place] = at
    event_key[place] = key
    event_of[place] = what


def _pop(s: Any) -> None:
    n, event_at, event_key, event_of = s.n, s.event_at, s.event_key, s.event_of
    size = n[EVENTS] - 1
    n[EVENTS] = size
    at, key, what = event_at[size], event_key[size], event_of[size]
    place, child = 0, 1
    while child < size:
        other = child + 1
        if other < size and (
            event_at[other] < event_at[child]
            or (event_at[other] == event_at[child] and event_key[other] < event_key[child])
        ):
            child = other
        if event_at[child] > at or (event_at[child] == at and event_key[child] > key):
            break
        event_at[place] = event_at[child]
        event_key[place] = event_key[child]
        event_of[place] = event_of[child]
        place, child = child, 2 * child + 1
    event_at[place] = at
    event_key[place] = key
    event_of[place] = what


# -- jobs


def _new(s: Any, whose: int, at: float) -> int:
    n = s.n
    n[FREE] -= 1
    job: int = s.free[n[FREE]]
    s.jobs[job + J_FLAGS] = 0
    s.jobs[job + J_BROKEN] = 0
    s.jobs[job + J_WHOSE] = whose
    s.times[job + J_AT] = at
    s.jobs[job + J_SERVER] = -1
    s.jobs[job + J_PHASE] = 0
    s.jobs[job + J_ATTEMPT] = 0
    s.jobs[job + J_AWAITED] = 0
    s.jobs[job + J_NUMBER] = 0
    return job


def _end(s: Any, job: int) -> None:
    """The job is over; its place is free when its deadline has passed."""
    s.jobs[job + J_FLAGS] |= OVER
    if s.jobs[job + J_AWAITED] == 0:
        s.free[s.n[FREE]] = job
        s.n[FREE] += 1


# -- clients


def _first(s: Any, r: Any, q: Any, now: float) -> int:
    """The next request, when it arrives for the first time."""
    n = s.n
    place = n[NEXT]
    n[NEXT] += 1
    n[FIRST] += 1
    s.tokens[0] = min(s.tokens[0] + r.deposit, r.burst)
    job = _new(s, CLIENT, now)
    for number in range(REQUEST):
        s.jobs[job + J_KEY + number] = q.numbers[REQUEST * place + number]
    for number in range(r.draws):
        s.times[job + J_DRAWS + number] = q.draws[r.draws * place + number]
    return job


def _arrive(s: Any, r: Any, job: int, now: float, weight: int) -> None:
    """An attempt meets the share of its instant."""
    n = s.n
    arm = 1 if s.jobs[job + J_BUCKET] < weight else 0
    n[ARRIVED] += 1
    n[UNDER_WAY + arm] += 1
    s.jobs[job + J_NUMBER] = n[ARRIVED]
    s.jobs[job + J_ARM] = arm
    s.times[job + J_AT] = now
    s.times[job + J_SECONDS] = s.times[job + J_DRAWS + arm]
    s.jobs[job + J_FLAGS] = s.jobs[job + J_FATE + arm] & FAILED
    s.jobs[job + J_BROKEN] = s.jobs[job + J_FATE + arm] >> 1
    if arm == 1:
        s.exposed[s.jobs[job + J_KEY]] = 1
    for number in range(len(s.single_at)):
        if s.single_at[number] <= now and s.singles[2 * number] == arm:
            s.single_at[number] = INF
            s.jobs[job + J_BROKEN] = s.singles[2 * number + 1]
    if r.timeout < INF:
        _push(s, now + r.timeout, DEADLINE, job)
        s.jobs[job + J_AWAITED] = 1
    _enter(s, job, STATION * arm)


def _retry(s: Any, r: Any, job: int, now: float) -> None:
    """The client has got no answer, or a failure: it asks again, if it may."""
    n = s.n
    attempt = s.jobs[job + J_ATTEMPT]
    if attempt + 1 >= r.attempts:
        n[GAVE_UP] += 1
        return
    if s.tokens[0] < r.price:
        n[DENIED] += 1
        n[GAVE_UP] += 1
        return
    s.tokens[0] -= r.price
    n[RETRIES] += 1
    again = _new(s, CLIENT, now)
    s.jobs[again + J_ATTEMPT] = attempt + 1
    for number in range(J_KEY, J_KEY + REQUEST):
        s.jobs[again + number] = s.jobs[job + number]
    # The draws of its fate and its calls are given later, those of further waits are the same.
    for number in range(r.jitter, r.draws):
        s.times[again + J_DRAWS + number] = s.times[job + J_DRAWS + number]
    jitter = r.spread * s.times[job + J_DRAWS + r.jitter + attempt]
    wait = r.waits[attempt] * (1 - jitter)
    s.times[again + J_AT] = now + wait
    s.fresh[n[FRESH]] = again
    n[FRESH] += 1
    _push(s, now + wait, RETRY, again)


def _deadline(s: Any, r: Any, job: int, now: float) -> None:
    """Whoever waits for the job goes away; the job itself goes on."""
    s.jobs[job + J_AWAITED] = 0
    if s.jobs[job + J_FLAGS] & OVER:
        _end(s, job)
        return
    s.jobs[job + J_FLAGS] |= GONE
    caller = s.jobs[job + J_WHOSE]
    if caller == CLIENT:
        s.n[TIMEOUTS] += 1
        s.n[AGAIN] = job
    else:
        s.jobs[job + J_WHOSE] = NOBODY
        _heard(s, r, job, FAILED, now)
        _resume(s, r, caller, s.jobs[job + J_PHASE], FAILED, now)


# -- stations


def _enter(s: Any, job: int, station: int) -> None:
    """The job joins the line."""
    s.jobs[job + J_STATION] = station
    if s.stations[station + S_LENGTH] == 0:
        s.stations[station + S_HEAD] = job
    else:
        s.jobs[s.stations[station + S_TAIL] + J_NEXT] = job
    s.stations[station + S_TAIL] = job
    s.stations[station + S_LENGTH] += 1
    _turn(s, station)


def _turn(s: Any, station: int) -> None:
    """Something has changed there; an event does so at two stations at most."""
    n = s.n
    if n[TURN] < 0:
        n[TURN] = station
    elif n[TURN] != station:
        n[OTHER_TURN] = station


def _dispatch(s: Any, r: Any, station: int, now: float) -> None:
    """Let the first in line begin, as long as there is a server for them."""
    while s.stations[station + S_LENGTH] > 0:
        job, server = s.stations[station + S_HEAD], -1
        nobody = s.jobs[job + J_WHOSE] == NOBODY
        if not nobody and r.stations[station + R_SERVERS] > 0:
            # It takes a server to find out that a client has left: until then nobody looks.
            server = _pick(s, r, station, now)
            if server < 0:
                return
        s.stations[station + S_HEAD] = s.jobs[job + J_NEXT]
        s.stations[station + S_LENGTH] -= 1
        if nobody:
            _end(s, job)
        elif r.drops and s.jobs[job + J_FLAGS] & GONE != 0:
            # What was to befall it while it is served does not: it never is.
            s.jobs[job + J_FLAGS] &= ~FAILED
            _observe(s, r, job, now)
            _end(s, job)
        else:
            _begin(s, r, job, server, now)


def _pick(s: Any, r: Any, station: int, now: float) -> int:
    """The server that has been idle for longest, without those that pause; −1 for none."""
    if s.stations[station + S_IDLE] == 0:
        return -1
    servers, times = s.servers, s.server_times
    best, since, soonest = -1, INF, INF
    for server in range(r.stations[station + R_FROM], r.stations[station + R_UPTO], SERVER):
        if servers[server + V_STATE] != IDLE:
            continue
        # Place 0 is that of servers that do not pause.
        clear = _clear(s, r, server, now) if servers[server + V_PAUSE] > 0 else now
        if clear > now:
            soonest = min(soonest, clear)
        elif times[server + V_IDLE] < since:
            best, since = server, times[server + V_IDLE]
    if best < 0 and soonest < s.station_times[station + S_WAKE]:
        s.station_times[station + S_WAKE] = soonest
        _push(s, soonest, WAKE, station)
    return best


def _clear(s: Any, r: Any, server: int, now: float) -> float:
    """The end of the pause that the server is in; `now` when it is in none."""
    place = s.servers[server + V_PAUSE]
    while r.pauses[place + P_END] <= now:
        place += PAUSE
    s.servers[server + V_PAUSE] = place
    end: float = r.pauses[place + P_END]
    return end if r.pauses[place + P_START] <= now else now


def _begin(s: Any, r: Any, job: int, server: int, now: float) -> None:
    station = s.jobs[job + J_STATION]
    s.jobs[job + J_SERVER] = server
    takes = s.times[job + J_SECONDS]
    if server >= 0:
        _measure(s, station, now)
        s.servers[server + V_STATE] = BUSY
        s.stations[station + S_IDLE] -= 1
        s.stations[station + S_BUSY] += 1
        if s.jobs[job + J_WHOSE] == LOSS:
            # Of a loss the seconds are the instant at which it ends.
            _push(s, max(now, takes), DONE, job)
            return
        if r.slowness[station + R_COLD_SECONDS] > 0:
            old = now - s.server_times[server + V_READY]
            left = 1 - old / r.slowness[station + R_COLD_SECONDS]
            if left > 0:
                takes = takes * (1 + (r.slowness[station + R_COLD_FACTOR] - 1) * left)
        if r.slowness[station + R_CONTENTION] > 1:
            load = s.stations[station + S_BUSY] / s.stations[station + S_PRESENT]
            takes = takes * (1 + (r.slowness[station + R_CONTENTION] - 1) * load)
    if s.jobs[job + J_WHOSE] != CLIENT:
        call = CALL * s.jobs[job + J_PHASE]
        failing = r.call_times[call + C_FAILS]
        for window in range(r.calls[call + C_TROUBLE], r.calls[call + CALL + C_TROUBLE], TROUBLE):
            if r.troubles[window + W_START] <= now < r.troubles[window + W_END]:
                takes = takes * r.troubles[window + W_FACTOR] + r.troubles[window + W_ADDED]
                failing = 1 - (1 - failing) * (1 - r.troubles[window + W_FAILS])
        if s.times[job + J_LUCK] < failing:
            s.jobs[job + J_FLAGS] |= FAILED
    end = now + takes
    if server >= 0:
        place = s.servers[server + V_PAUSE]
        # Every pause that begins before the end puts it off, and may so bring in the next one.
        while r.pauses[place + P_START] < end:
            end += r.pauses[place + P_END] - r.pauses[place + P_START]
            place += PAUSE
    _push(s, end, DONE, job)


def _release(s: Any, job: int, now: float) -> None:
    """The job's server, if it has one, turns to the next in line."""
    server, station = s.jobs[job + J_SERVER], s.jobs[job + J_STATION]
    if server < 0:
        return
    _measure(s, station, now)
    s.stations[station + S_BUSY] -= 1
    if s.servers[server + V_STATE] == LEAVING:
        s.servers[server + V_STATE] = ABSENT
        s.stations[station + S_PRESENT] -= 1
        return
    s.servers[server + V_STATE] = IDLE
    s.server_times[server + V_IDLE] = now
    s.stations[station + S_IDLE] += 1
    _turn(s, station)


def _measure(s: Any, station: int, now: float) -> None:
    """Add up server-seconds since the last change."""
    passed = now - s.station_times[station + S_MEASURED]
    s.station_times[station + S_BUSY_SECONDS] += s.stations[station + S_BUSY] * passed
    s.station_times[station + S_PRESENT_SECONDS] += s.stations[station + S_PRESENT] * passed
    s.station_times[station + S_MEASURED] = now


def _lose(s: Any, r: Any, loss: int, now: float) -> None:
    """A server is lost: that stands in line as a job does."""
    job = _new(s, LOSS, now)
    s.times[job + J_SECONDS] = r.loss_end[loss]
    _enter(s, job, r.loss_station[loss])


# -- what becomes of a job


def _done(s: Any, r: Any, job: int, now: float) -> None:
    """It has been served; or a server that paused comes back to it."""
    whose = s.jobs[job + J_WHOSE]
    if whose == CLIENT:
        s.n[ONWARD] = job
        return
    _release(s, job, now)
    if whose >= 0:
        failed = s.jobs[job + J_FLAGS] & FAILED
        _heard(s, r, job, failed, now)
        _resume(s, r, whose, s.jobs[job + J_PHASE], failed, now)
    _end(s, job)


def _resume(s: Any, r: Any, job: int, number: int, failed: int, now: float) -> None:
    """A call has come back to the job that made it, or was given up."""
    if failed and not r.calls[CALL * number + C_OPTIONAL]:
        s.jobs[job + J_FLAGS] |= FAILED
    server = s.jobs[job + J_SERVER]
    clear = now if server < 0 else _clear(s, r, server, now)
    if clear > now:
        # Its server pauses: the job goes on when the pause ends.
        _push(s, clear, DONE, job)
    else:
        s.n[ONWARD] = job


def _go_on(s: Any, r: Any, job: int, now: float) -> None:
    """Call the next dependency, or be done."""
    arm = s.jobs[job + J_ARM]
    number = s.jobs[job + J_PHASE]
    while number < r.dependencies and s.jobs[job + J_FLAGS] & FAILED == 0:
        breaker = BREAKER * (2 * number + arm)
        if not r.used[(2 * number + arm) * r.routes + s.jobs[job + J_ROUTE]]:
            number += 1
        elif _allowed(s, r, number, breaker, now):
            s.jobs[job + J_PHASE] = number + 1
            call = _new(s, job, now)
            s.jobs[call + J_PHASE] = number
            s.jobs[call + J_ARM] = arm
            s.jobs[call + J_GENERATION] = s.breakers[breaker + B_GENERATION]
            s.times[call + J_SECONDS] = s.times[job + J_DRAWS + CALLS + 2 * number]
            s.times[call + J_LUCK] = s.times[job + J_DRAWS + CALLS + 2 * number + 1]
            timeout = r.call_times[CALL * number + C_TIMEOUT]
            if timeout < INF:
                _push(s, now + timeout, DEADLINE, call)
                s.jobs[call + J_AWAITED] = 1
            _enter(s, call, STATION * (2 + number))
            return
        else:
            s.n[FAST] += 1
            if not r.calls[CALL * number + C_OPTIONAL]:
                s.jobs[job + J_FLAGS] |= FAILED
            number += 1
    _observe(s, r, job, now)
    _release(s, job, now)
    if s.jobs[job + J_FLAGS] & FAILED and s.jobs[job + J_FLAGS] & GONE == 0:
        # Over, but its place is not free yet: `_retry` copies what is asked for again.
        s.jobs[job + J_FLAGS] |= OVER
        s.n[AGAIN] = job
    else:
        _end(s, job)


def _observe(s: Any, r: Any, job: int, now: float) -> None:
    """What the middleware sees of an attempt."""
    n = s.n
    arm = s.jobs[job + J_ARM]
    given_up = s.jobs[job + J_FLAGS] & GIVEN_UP
    if given_up == 0:
        n[UNDER_WAY + arm] -= 1
    code = s.jobs[job + J_FLAGS] & FAILED
    if (now - s.times[job + J_AT]) * 1000 > r.limit_ms:
        code += SLOW
    if s.jobs[job + J_FLAGS] & GONE:
        # Nobody looks at an answer to a client that has left; that it waited too long counts.
        if code == 0:
            code = NEUTRAL
    elif s.jobs[job + J_BROKEN] > 0:
        code += BROKEN + FLAGS * s.jobs[job + J_BROKEN]
        if arm == 1 and given_up == 0:
            n[BREACH] = n[TOLD] + 1
    if code != NEUTRAL:
        s.answered[arm] = now
    if arm == 1:
        code += CANARY
    code += given_up
    place = TELLING * n[TOLD]
    n[TOLD] += 1
    s.told_times[place + T_DONE] = now
    s.told_times[place + T_AT] = s.times[job + J_AT]
    s.told[place + T_CODE] = code
    s.told[place + T_KEY] = s.jobs[job + J_KEY]
    s.told[place + T_NUMBER] = s.jobs[job + J_NUMBER]
    s.told[place + T_ROUTE] = s.jobs[job + J_ROUTE]


def _signal(s: Any, kind: int, of: int, value: float, now: float) -> None:
    place = SIGNAL * s.n[SIGNALS]
    s.n[SIGNALS] += 1
    s.signals[place + G_AT] = now
    s.signals[place + G_KIND] = kind
    s.signals[place + G_OF] = of
    s.signals[place + G_VALUE] = value


# -- circuit breakers: of the dependency `number`, at the place `breaker` for each arm


def _allowed(s: Any, r: Any, number: int, breaker: int, now: float) -> bool:
    """Whether a call is made, and does not fail at once."""
    if r.calls[CALL * number + C_FAILURES] == 0:
        return True
    if s.breakers[breaker + B_STATE] == OPEN and now >= s.breaker_times[breaker + B_UNTIL]:
        s.breakers[breaker + B_STATE] = HALF_OPEN
        s.breakers[breaker + B_GENERATION] += 1
        s.breakers[breaker + B_TRIALS] = 0
        s.breakers[breaker + B_GOOD] = 0
    if s.breakers[breaker + B_STATE] == OPEN:
        return False
    if s.breakers[breaker + B_STATE] == HALF_OPEN:
        if s.breakers[breaker + B_TRIALS] >= r.calls[CALL * number + C_TRIALS]:
            return False
        s.breakers[breaker + B_TRIALS] += 1
    return True


def _heard(s: Any, r: Any, call: int, failed: int, now: float) -> None:
    """The breaker learns how a call went, unless its state has changed since the call."""
    number = s.jobs[call + J_PHASE]
    which = 2 * number + s.jobs[call + J_ARM]
    breaker = BREAKER * which
    if r.calls[CALL * number + C_FAILURES] == 0:
        return
    if s.jobs[call + J_GENERATION] != s.breakers[breaker + B_GENERATION]:
        return
    if s.breakers[breaker + B_STATE] == HALF_OPEN:
        if failed:
            _trip(s, r, number, breaker, now)
            return
        s.breakers[breaker + B_GOOD] += 1
        if s.breakers[breaker + B_GOOD] >= r.calls[CALL * number + C_TRIALS]:
            s.breakers[breaker + B_STATE] = CLOSED
            s.breakers[breaker + B_GENERATION] += 1
            took = (now - s.breaker_times[breaker + B_SINCE]) * 1000
            _signal(s, RECOVERED, which, took, now)
        return
    first, size = r.rings[which], r.calls[CALL * number + C_CALLS]
    place = first + s.breakers[breaker + B_NEXT]
    s.breakers[breaker + B_FAILURES] += (1 if failed else 0) - s.rings[place]
    s.rings[place] = 1 if failed else 0
    s.breakers[breaker + B_NEXT] = (s.breakers[breaker + B_NEXT] + 1) % size
    if s.breakers[breaker + B_FAILURES] >= r.calls[CALL * number + C_FAILURES]:
        s.breaker_times[breaker + B_SINCE] = now
        _signal(s, OPENED, which, 0.0, now)
        for each in range(first, first + size):
            s.rings[each] = 0
        s.breakers[breaker + B_FAILURES] = 0
        s.breakers[breaker + B_NEXT] = 0
        _trip(s, r, number, breaker, now)


def _trip(s: Any, r: Any, number: int, breaker: int, now: float) -> None:
    s.breakers[breaker + B_STATE] = OPEN
    s.breakers[breaker + B_GENERATION] += 1
    s.breaker_times[breaker + B_UNTIL] = now + r.call_times[CALL * number + C_SECONDS]


# -- autoscaling


def _scale(s: Any, r: Any, arm: int, now: float) -> None:
    """Ask for as many servers as would bring the utilisation to its target, or let some go."""
    station, scaling = STATION * arm, SCALING * arm
    s.decisions[arm] += 1
    # By products, as `Settled.occurrences`: a sum of sums would be rounded otherwise.
    _push(s, (s.decisions[arm] + 1) * r.scale_times[scaling + A_EVERY], SCALE, arm)
    _measure(s, station, now)
    here, coming = 0, 0
    for server in range(r.stations[station + R_FROM], r.stations[station + R_UPTO], SERVER):
        state = s.servers[server + V_STATE]
        if state in (IDLE, BUSY):
            here += 1
        elif state == COMING:
            coming += 1
    # Where no server was there none was busy either: 0, and not 0 / 0.
    present = max(s.station_times[station + S_PRESENT_SECONDS], 1e-9)
    ratio = s.station_times[station + S_BUSY_SECONDS] / present / r.scale_times[scaling + A_TARGET]
    s.station_times[station + S_BUSY_SECONDS] = 0.0
    s.station_times[station + S_PRESENT_SECONDS] = 0.0
    desired, tolerance = here, r.scale_times[scaling + A_TOLERANCE]
    if abs(ratio - 1) > tolerance + EXACT:
        # Full servers at a target of 60 % are 5/3 of it: three of them ask for five, and not for
        # six because server-seconds do not add up to the last bit.
        exact = here * ratio - EXACT
        desired = int(exact)
        if desired < exact:
            desired += 1
    desired = max(desired, r.scaling[scaling + A_LEAST])
    desired = min(desired, r.stations[station + R_SERVERS])
    # Fewer only when no decision of the last while has asked for more.
    first, memory = r.scaling[scaling + A_ADVICE], r.scaling[scaling + A_MEMORY]
    s.advice[first + s.decisions[arm] % memory] = desired
    if desired < here + coming:
        for place in range(first, first + memory):
            desired = max(desired, s.advice[place])
    if desired > here + coming:
        _signal(s, SCALED, arm, float(desired), now)
        _hire(s, r, arm, desired - here - coming, now)
    elif desired < here + coming:
        _signal(s, SCALED, arm, float(desired), now)
        _dismiss(s, r, station, here + coming - desired)


def _hire(s: Any, r: Any, arm: int, number: int, now: float) -> None:
    station, delay = STATION * arm, r.scale_times[SCALING * arm + A_DELAY]
    for server in range(r.stations[station + R_FROM], r.stations[station + R_UPTO], SERVER):
        if number > 0 and s.servers[server + V_STATE] == ABSENT:
            number -= 1
            s.servers[server + V_STATE] = COMING
            s.servers[server + V_ORDERS] += 1
            _push(s, now + delay, READY, server)


def _dismiss(s: Any, r: Any, station: int, number: int) -> None:
    """First those that have not come yet, then idle ones, then busy ones when they are free."""
    for state in (COMING, IDLE, BUSY):
        server = r.stations[station + R_UPTO]
        while server > r.stations[station + R_FROM] and number > 0:
            server -= SERVER
            if s.servers[server + V_STATE] != state:
                continue
            number -= 1
            s.servers[server + V_STATE] = LEAVING if state == BUSY else ABSENT
            if state == IDLE:
                s.stations[station + S_IDLE] -= 1
                s.stations[station + S_PRESENT] -= 1


def _ready(s: Any, server: int, now: float) -> None:
    """A new server has come, unless it was called off."""
    s.servers[server + V_ORDERS] -= 1
    # Called off and ordered again it comes when the last of its orders is due.
    if s.servers[server + V_STATE] != COMING or s.servers[server + V_ORDERS] > 0:
        return
    station = s.servers[server + V_STATION]
    _measure(s, station, now)
    s.servers[server + V_STATE] = IDLE
    s.stations[station + S_IDLE] += 1
    s.stations[station + S_PRESENT] += 1
    s.server_times[server + V_IDLE] = now
    s.server_times[server + V_READY] = now
    _turn(s, station)
