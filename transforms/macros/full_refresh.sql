{#-
    dbt's own answer, and yes for an incremental table that lacks a column which its model has gained since: a build
    file of an earlier version mends itself, one model at a time, where `on_schema_change='fail'` would stop for ever.
-#}
{% macro should_full_refresh() -%}
{{ return(dbt.should_full_refresh() or lacks_columns()) }}
{%- endmacro %}

{% macro lacks_columns() -%}
{%- if not (execute and target.type == 'duckdb' and model.config.materialized == 'incremental') -%}
    {{ return(false) }}
{%- endif -%}
{%- set built = adapter.get_relation(this.database, this.schema, this.identifier) -%}
{%- if built is none -%}{{ return(false) }}{%- endif -%}
{%- set known = adapter.get_columns_in_relation(built) | map(attribute='name') | map('lower') | list -%}
{%- set gained = model.columns | map('lower') | reject('in', known) | list -%}
{%- if gained -%}
    {%- do log(model.name ~ " is built from the beginning: its table lacks " ~ gained | join(', '), info=true) -%}
{%- endif -%}
{{ return(gained | length > 0) }}
{%- endmacro %}
