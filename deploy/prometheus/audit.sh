#!/bin/sh
# Every night, from cron or a timer, with an administrator's settings in its environment:
#
#   audit.sh /var/lib/node_exporter/textfile     # the folder of node_exporter's --collector.textfile.directory
#
# Leaves there whether the last audit that came to its end found a difference, which the alerts RollbookAuditDiffers and
# RollbookAuditMissed go by. One that could not look leaves what the one before it left, and ends as `rollbook` did. The
# answer goes to standard output, for cron's mail or the journal.
set -eu
cd "${1:?the folder to leave the metrics in}"
answer=$(mktemp)
trap 'rm -f "$answer"' EXIT
code=0
rollbook audit --json >"$answer" || code=$?
cat "$answer"
# 1 alone may also mean that it could not look; then there is no answer, or not all of it.
case $code$(head -c 11 "$answer") in
  '0{"ok":true,') differs=0 ;;
  '1{"ok":false') differs=1 ;;
  *) exit "$code" ;;
esac
cat >rollbook_audit.part <<METRICS
# HELP rollbook_audit_differs Whether the last audit that came to its end found a difference.
# TYPE rollbook_audit_differs gauge
rollbook_audit_differs $differs
# HELP rollbook_audit_ended_timestamp_seconds When it ended.
# TYPE rollbook_audit_ended_timestamp_seconds gauge
rollbook_audit_ended_timestamp_seconds $(date +%s)
METRICS
mv rollbook_audit.part rollbook_audit.prom
