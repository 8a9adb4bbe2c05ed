{#-
    What each dbt run leaves in the build file, whoever starts it: the last result of every node in audit.node_result
    (publishing looks at it), the first rows of what a test found in audit.failed_row, and raw.touched_days without the
    days that are built now.
-#}
{% macro writes() -%}
{{ return(execute and target.type == 'duckdb' and flags.WHICH in ('build', 'run', 'test', 'snapshot', 'retry')) }}
{%- endmacro %}

{#- Before anything changes: nodes that run, and tests of models that run, have no valid result any more. -#}
{% macro begin_run() -%}
{%- if writes() -%}
    {%- set statuses = {} -%}
    {%- for node in graph.nodes.values() if node.resource_type == 'test' -%}
        {%- for parent in node.depends_on.nodes if parent in selected_resources and parent.split('.')[0] in ('model', 'snapshot') -%}
            {%- do statuses.update({node.unique_id: 'stale'}) -%}
        {%- endfor -%}
    {%- endfor -%}
    {%- for id in selected_resources if id.split('.')[0] in ('model', 'snapshot', 'test', 'unit_test') -%}
        {%- do statuses.update({id: 'running'}) -%}
    {%- endfor -%}
    {%- set rows = [] -%}
    {%- for id, status in statuses.items() -%}
        {%- do rows.append((id, status, '')) -%}
    {%- endfor -%}
    {%- do record_results(rows) -%}
    {%- do run_query("create or replace table raw.building_days as select distinct event_date, touched_at from raw.touched_days") -%}
    {%- do run_query("commit") -%}
{%- endif -%}
{%- endmacro %}

{% macro end_run(results) -%}
{%- if writes() -%}
    {%- set rows = [] -%}
    {%- set built = [] -%}
    {%- for result in results if result.node.resource_type in ('model', 'snapshot', 'test', 'unit_test') -%}
        {%- set id = result.node.unique_id -%}
        {%- do rows.append((id, result.status | string, (result.message or '') | string)) -%}
        {%- if id.startswith('model.') and result.status == 'success' -%}{%- do built.append(id.split('.')[-1]) -%}{%- endif -%}
    {%- endfor -%}
    {%- do record_results(rows) -%}
    {%- for result in results if result.node.resource_type == 'test' and result.status | string in ('fail', 'warn') -%}
        {%- do record_failed_rows(result) -%}
    {%- endfor -%}
    {%- set unbuilt = [] -%}
    {%- for node in graph.nodes.values() if node.resource_type == 'model' and node.config.materialized == 'incremental' -%}
        {%- if node.name not in built -%}{%- do unbuilt.append(node.name) -%}{%- endif -%}
    {%- endfor -%}
    {%- if not unbuilt -%}
        {%- do run_query(
            "delete from raw.touched_days t using raw.building_days b"
            " where t.event_date = b.event_date and t.touched_at = b.touched_at"
        ) -%}
    {%- endif -%}
    {%- do run_query("commit") -%}
{%- endif -%}
{%- endmacro %}

{#- Nodes that left the project leave the record too. -#}
{% macro record_results(rows) -%}
    {%- set known = graph.nodes.keys() | list + graph.get('unit_tests', {}).keys() | list -%}
    {%- do run_query("begin") -%}
    {%- if known -%}
        {%- do forget_results("not in (" ~ quoted(known) ~ ")") -%}
    {%- endif -%}
    {%- if rows -%}
        {%- do forget_results("in (" ~ quoted(rows | map(attribute=0) | list) ~ ")") -%}
        {%- set values = [] -%}
        {%- for id, status, message in rows -%}
            {%- do values.append(
                "(" ~ quoted([id, id.split('.')[0], status, message[:2000], invocation_id]) ~ ", now())"
            ) -%}
        {%- endfor -%}
        {%- do run_query("insert into audit.node_result values " ~ values | join(', ')) -%}
    {%- endif -%}
{%- endmacro %}

{% macro forget_results(which) -%}
    {%- do run_query("delete from audit.node_result where node_id " ~ which) -%}
    {%- do run_query("delete from audit.failed_row where node_id " ~ which) -%}
{%- endmacro %}

{#- Asked again of the test's own query, after it failed: what passes costs nothing. -#}
{% macro record_failed_rows(result) -%}
    {%- do run_query(
        "insert into audit.failed_row select " ~ quoted([result.node.unique_id]) ~ ", " ~ (result.failures or 0)
        ~ ", " ~ row_as_json() ~ " from (" ~ result.node.compiled_code ~ ") as found limit 20"
    ) -%}
{%- endmacro %}

{% macro quoted(texts) -%}
    {%- set literals = [] -%}
    {%- for text in texts -%}{%- do literals.append("'" ~ text | replace("'", "''") ~ "'") -%}{%- endfor -%}
    {{ return(literals | join(', ')) }}
{%- endmacro %}
