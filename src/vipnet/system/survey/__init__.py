"""What this host is like, as far as vipnet cares: facts for `vipnet doctor`.

Each module looks at one thing and returns a frozen struct; none judges, none changes
anything. What cannot be found out is None. No function here raises for what it finds.
"""
