#!/bin/sh
# Prints the report of the day and ends: what a schedule is for.
set -eu

shop="${SHOP:-the shop}"
today="$(date -u +%Y-%m-%d)"

echo "report of $today for $shop"
echo "----------------------------------------"
# the same day gives the same figures
seed="$(date -u +%j | sed 's/^0*//')"
total=0
for item in tea coffee cocoa; do
    seed=$(((seed * 137 + 41) % 997))
    sold=$((seed % 90 + 10))
    total=$((total + sold))
    printf '%-10s %6d sold\n' "$item" "$sold"
done
echo "----------------------------------------"
printf '%-10s %6d\n' total "$total"
