# `kitchen-agent outbox`.
outbox-empty = nothing waits: the district has everything
outbox-unknown = no message in the outbox begins with { $id }: it has been acknowledged or given up; see kitchen-agent outbox list
outbox-ambiguous = several messages begin with { $id }: give more of the id
outbox-created = queued { $time }, { $bytes } bytes
outbox-set-aside = set aside: { $reason }
outbox-sent = sent { $attempts } times, not acknowledged; again within { $seconds } s
outbox-waiting = waits to be sent
outbox-requeued = { $id } waits again and is sent as soon as its turn comes
outbox-dropped = { $id } is given up; the district is told that it will not come
