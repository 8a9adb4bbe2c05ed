{#- What engines spell differently. The default is DuckDB's form; another engine adds its own beside it. -#}

{#- One row for each element of an array, in a select list. -#}
{% macro explode(column) -%}{{ return(adapter.dispatch('explode', 'matinee')(column)) }}{%- endmacro %}
{% macro default__explode(column) -%}unnest({{ column }}){%- endmacro %}
{% macro spark__explode(column) -%}explode({{ column }}){%- endmacro %}

{#- The first element of an array, null where it is empty. -#}
{% macro first_of(column) -%}{{ return(adapter.dispatch('first_of', 'matinee')(column)) }}{%- endmacro %}
{% macro default__first_of(column) -%}{{ column }}[1]{%- endmacro %}
{% macro spark__first_of(column) -%}get({{ column }}, 0){%- endmacro %}

{#- Columns as one value with named fields. -#}
{% macro record(columns) -%}{{ return(adapter.dispatch('record', 'matinee')(columns)) }}{%- endmacro %}
{% macro default__record(columns) -%}
struct_pack({% for c in columns %}{{ c }} := {{ c }}{{ ", " if not loop.last }}{% endfor %})
{%- endmacro %}
{% macro spark__record(columns) -%}
named_struct({% for c in columns %}'{{ c }}', {{ c }}{{ ", " if not loop.last }}{% endfor %})
{%- endmacro %}

{#- A date as a number of days, for windows over calendar days. -#}
{% macro day_number(column) -%}{{ return(adapter.dispatch('day_number', 'matinee')(column)) }}{%- endmacro %}
{% macro default__day_number(column) -%}datediff('day', date '1970-01-01', {{ column }}){%- endmacro %}
{% macro spark__day_number(column) -%}datediff({{ column }}, date '1970-01-01'){%- endmacro %}

{#- The first moment after a day, UTC: what is known at this time stamp happened before it. -#}
{% macro end_of_day(column) -%}{{ return(adapter.dispatch('end_of_day', 'matinee')(column)) }}{%- endmacro %}
{% macro default__end_of_day(column) -%}cast({{ column }} + interval '1' day as timestamptz){%- endmacro %}
{% macro spark__end_of_day(column) -%}cast({{ column }} + interval '1' day as timestamp){%- endmacro %}

{#- The whole row of the subquery named `found`, as JSON text. -#}
{% macro row_as_json() -%}{{ return(adapter.dispatch('row_as_json', 'matinee')()) }}{%- endmacro %}
{% macro default__row_as_json() -%}cast(to_json(found) as varchar){%- endmacro %}
{% macro spark__row_as_json() -%}to_json(struct(*)){%- endmacro %}

{#- One row for each date from `first` on, a `unit` (day, month) apart, not after `last`; only where first <= last. -#}
{% macro each_date(first, last, unit) -%}{{ return(adapter.dispatch('each_date', 'matinee')(first, last, unit)) }}{%- endmacro %}
{% macro default__each_date(first, last, unit) -%}
cast(unnest(generate_series(cast({{ first }} as timestamp), cast({{ last }} as timestamp), interval '1' {{ unit }})) as date)
{%- endmacro %}
{% macro spark__each_date(first, last, unit) -%}
explode(sequence(cast({{ first }} as date), cast({{ last }} as date), interval 1 {{ unit }}))
{%- endmacro %}

{#- Whole numbers divided, the fraction cut off. -#}
{% macro whole_division(dividend, divisor) -%}{{ return(adapter.dispatch('whole_division', 'matinee')(dividend, divisor)) }}{%- endmacro %}
{% macro default__whole_division(dividend, divisor) -%}(({{ dividend }}) // ({{ divisor }})){%- endmacro %}
{% macro spark__whole_division(dividend, divisor) -%}(({{ dividend }}) div ({{ divisor }})){%- endmacro %}

{#- A date's month as a number of months, so that neighbours differ by one. -#}
{% macro month_number(column) -%}(12 * extract(year from {{ column }}) + extract(month from {{ column }})){%- endmacro %}

{#- Eight bytes that stand for a value: equal values have equal ones, different values nearly always different ones. -#}
{% macro short_hash(column) -%}{{ return(adapter.dispatch('short_hash', 'matinee')(column)) }}{%- endmacro %}
{% macro default__short_hash(column) -%}hash({{ column }}){%- endmacro %}
{% macro spark__short_hash(column) -%}xxhash64({{ column }}){%- endmacro %}

{#- A moment as whole microseconds since 1970, UTC. -#}
{% macro microseconds(column) -%}{{ return(adapter.dispatch('microseconds', 'matinee')(column)) }}{%- endmacro %}
{% macro default__microseconds(column) -%}epoch_us({{ column }}){%- endmacro %}
{% macro spark__microseconds(column) -%}unix_micros({{ column }}){%- endmacro %}

{#- The whole numbers from the first to the last, as an array. -#}
{% macro numbers(first, last) -%}{{ return(adapter.dispatch('numbers', 'matinee')(first, last)) }}{%- endmacro %}
{% macro default__numbers(first, last) -%}generate_series({{ first }}, {{ last }}){%- endmacro %}
{% macro spark__numbers(first, last) -%}sequence({{ first }}, {{ last }}){%- endmacro %}

{#- A sum of whole numbers as a bigint, at most the largest: a client whose counters lie cannot stop a build. -#}
{% macro total(column) -%}{{ return(adapter.dispatch('total', 'matinee')(column)) }}{%- endmacro %}
{% macro default__total(column) -%}cast(least(sum({{ column }}), 9223372036854775807) as bigint){%- endmacro %}
{% macro spark__total(column) -%}
cast(least(sum(cast({{ column }} as decimal(20, 0))), 9223372036854775807BD) as bigint)
{%- endmacro %}

{#- The type of a moment in time. -#}
{% macro moment_type() -%}{{ return(adapter.dispatch('moment_type', 'matinee')()) }}{%- endmacro %}
{% macro default__moment_type() -%}timestamptz{%- endmacro %}
{% macro spark__moment_type() -%}timestamp{%- endmacro %}
