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
