# What every change must pass.
check:
    .ci/run

# The long checks.
deep:
    .ci/deep

# So many schedules of threads, or those of one scenario: just schedules 100000 --exact NAME
schedules count='20000' *args:
    EVTCHN_SCHEDULES={{count}} .ci/schedules {{args}}
