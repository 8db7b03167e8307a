"""What a running daemon tells Prometheus.

    families  every metric: its name, kind, meaning and labels; the reference is made from it
    events    what else is counted, and what each means
    collect   reads the daemon's own numbers when it is asked, into prometheus_client's form
    serve     GET /metrics for who wants a port

Nothing is counted for metrics' sake where packets go: what is read is there anyway, and nothing
is read before somebody asks. prometheus_client is imported then, not before.
"""
