"""The evaluation of the paper (section 4), measured again in the lab; `bench/figures.py` is the program.

cells      what is measured: which lab, who moves, what flows, how slow DNS is
pcaps      packets that tcpdump wrote, as times, sequence numbers and DNS answers
bed        a lab that is ready for it: kernel of 2001, slow DNS, daemons that sleep (sleepy)
capture    tcpdump on its hosts
trial      one move measured
aside      what the paper says besides: legacy hosts, set-up, round trips, applications
document   all that was measured, as it stands in figures.json
draw       figures and CSV
claims     each sentence of the paper that can be tested, with our numbers
report     report.md and report.html
"""
