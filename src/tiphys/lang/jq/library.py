"""The builtin functions that are written in jq itself.

Names with an underscore are the functions of `functions`, or not for users.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from tiphys.lang.jq import syntax
from tiphys.lang.jq.parsing import parse

_SOURCE: Final = r"""
def not: if . then false else true end;
def select(f): if f then . else empty end;
def map(f): [.[] | f];
def map_values(f): .[] |= f;
def add(f): [f] | add;
def in(container): . as $key | container | has($key);
def recurse: recurse(.[]?);
def recurse(f): def down: ., (f | down); down;
def recurse(f; condition): def down: ., (f | select(condition) | down); down;

def to_entries: [keys[] as $key | {key: $key, value: .[$key]}];
def from_entries:
  map({(.key // .Key // .name // .Name): (if has("value") then .value else .Value end)}) | add // {};
def with_entries(f): to_entries | map(f) | from_entries;

def while(condition; update): def again: if condition then ., (update | again) else empty end; again;
def until(condition; update): def again: if condition then . else update | again end; again;
def repeat(f): def again: f, again; again;
def range($end): _range(0; $end; 1);
def range($start; $end): _range($start; $end; 1);
def range($start; $end; $step): _range($start; $end; $step);

def min_by(f): _min_by(map([f]));
def max_by(f): _max_by(map([f]));
def sort_by(f): _sort_by(map([f]));
def group_by(f): _group_by(map([f]));
def unique_by(f): _unique_by(map([f]));

def arrays: select(type == "array");
def objects: select(type == "object");
def iterables: select(type == "array" or type == "object");
def booleans: select(type == "boolean");
def numbers: select(type == "number");
def finites: select(isfinite);
def normals: select(isnormal);
def strings: select(type == "string");
def nulls: select(. == null);
def values: select(. != null);
def scalars: select(type != "array" and type != "object");

def combinations: if length == 0 then [] else .[0][] as $first | [$first] + (.[1:] | combinations) end;
def combinations($count): [range($count) as $_ | .] | combinations;
def walk(f):
  def down: if type == "array" then map(down) elif type == "object" then map_values(down) end | f;
  down;

def first: .[0];
def last: .[-1];
def nth($index): .[$index];
def first(f): label $found | f | ., break $found;
def last(f): _last(f);
def isempty(f): label $found | (f | false, break $found), true;
def all: all(.[]; .);
def all(condition): all(.[]; condition);
def all(source; condition): isempty(source | select(condition | not));
def any: any(.[]; .);
def any(condition): any(.[]; condition);
def any(source; condition): isempty(source | select(condition)) | not;
def limit($count; f):
  if $count > 0 then
    label $enough | foreach f as $item ($count; . - 1; $item, if . <= 0 then break $enough else empty end)
  elif $count == 0 then empty
  else error("limit doesn't support negative count") end;
def skip($count; f):
  if $count > 0 then foreach f as $item ($count; . - 1; if . < 0 then $item else empty end)
  elif $count == 0 then f
  else error("skip doesn't support negative count") end;
def nth($index; f):
  if $index >= 0 then first(skip($index; f)) else error("nth doesn't support negative index") end;

def tostream: path(def leaves: (.[]? | leaves), .; leaves) as $path | getpath($path)
  | reduce path(.[]?) as $inner ([$path, .]; [$path + $inner]);
def fromstream(f):
  foreach f as $event ({done: true};
    (if .done then {} end) | $event[0] as $path
    | if ($event | length) == 2 then setpath(["value"] + $path; $event[1]) | .done = ($path | length == 0)
      else .done = ($path | length == 1) end;
    if .done then .value else empty end);
def truncate_stream(f): . as $depth | null | f | if .[0] | length > $depth then .[0] |= .[$depth:] else empty end;

def del(f): delpaths([path(f)]);
def paths: path(..) | select(. != []);
def paths(f): path(.. | select(f)) | select(. != []);
def pick(f): . as $whole | reduce path(f) as $path (null; setpath($path; $whole | getpath($path)));
def _assign(f; $value): reduce path(f) as $path (.; setpath($path; $value));
def _modify(f; update):
  reduce path(f) as $path ([., []];
    . as [$whole, $gone]
    | label $first
    | (($whole | getpath($path) | update) as $new | [($whole | setpath($path; $new)), $gone], break $first),
      [$whole, $gone + [$path]])
  | . as [$whole, $gone] | $whole | delpaths($gone);

def fromdateiso8601: strptime("%Y-%m-%dT%H:%M:%S%z") | mktime;
def todateiso8601: strftime("%Y-%m-%dT%H:%M:%SZ");
def fromdate: fromdateiso8601;
def todate: todateiso8601;

def match($pattern): match($pattern; null);
def match($pattern; $flags): _match($pattern; $flags)[];
def test($pattern): test($pattern; null);
def capture($pattern): capture($pattern; null);
def capture($pattern; $flags): match($pattern; $flags) | .captures | _captures;
def scan($pattern): scan($pattern; null);
def scan($pattern; $flags):
  match($pattern; $flags + "g") | if .captures == [] then .string else [.captures[].string] end;
def splits($pattern): splits($pattern; null);
def splits($pattern; $flags): split($pattern; $flags)[];
def split($pattern; $flags):
  . as $text | [match($pattern; $flags + "g") | [.offset, .offset + .length]] as $cuts
  | [range($cuts | length + 1) as $at
     | (if $at == 0 then 0 else $cuts[$at - 1][1] end) as $start | $text[$start:$cuts[$at][0]]];
def sub($pattern; text): sub($pattern; text; null);
def gsub($pattern; text): sub($pattern; text; "g");
def gsub($pattern; text; $flags): sub($pattern; text; $flags + "g");
def sub($pattern; text; $flags):
  . as $whole
  | reduce match($pattern; $flags) as $match ({done: 0, texts: []};
      .done as $done
      | reduce ($match.captures | _captures | text) as $new ({at: 0, texts};
          .texts[.at] += $whole[$done:$match.offset] + $new | .at += 1)
      | .done = $match.offset + $match.length)
  | if .texts == [] then $whole else .texts[] + $whole[.done:] end;

def inputs: try repeat(input) catch (if . == "break" then empty else error end);
def INDEX(source; key): reduce source as $row ({}; .[$row | key | tostring] = $row);
def INDEX(key): INDEX(.[]; key);
def JOIN($index; key): [.[] | [., $index[key]]];
def JOIN($index; source; key): source | [., $index[key]];
def JOIN($index; source; key; joined): source | [., $index[key]] | joined;
def IN(source): any(source == .; .);
def IN(value; source): any(value == source; .);
"""


@lru_cache(maxsize=1)
def definitions() -> dict[tuple[str, int], syntax.Define]:
    """Every library function by name and number of parameters."""
    found: dict[tuple[str, int], syntax.Define] = {}
    for source in _SOURCE.replace("\n  ", " ").replace("\n ", " ").split("\ndef "):
        if source.strip():
            node = parse(f"def {source.strip().removeprefix('def ')} .")
            assert isinstance(node, syntax.Define)
            found[node.name, len(node.parameters)] = node
    return found
