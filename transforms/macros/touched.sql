{#-
    Incremental models rebuild what depends on the event days in raw.touched_days and nothing else: a hook forgets it,
    in the transaction that appends what is true now. So a row that is not true any more goes as well.
-#}
{% macro forget_touched_days() -%}
{% if is_incremental() %}
delete from {{ this }} where event_date in (select event_date from {{ source('raw', 'touched_days') }})
{% endif %}
{%- endmacro %}

{% macro forget_touched_repetitions() -%}
{% if is_incremental() %}
delete from {{ this }}
where event_id in ({{ touched_events() }})
    or event_date in (select event_date from {{ source('raw', 'touched_days') }})
{% endif %}
{%- endmacro %}

{#- Also those that are known from another day: what is new there may be a repetition. -#}
{% macro touched_events() -%}
select event_id from {{ ref('stg_events') }}
where event_date in (select event_date from {{ source('raw', 'touched_days') }})
{%- endmacro %}

{% macro forget_touched_playbacks() -%}
{% if is_incremental() %}
delete from {{ this }} where playback_id in ({{ touched_playbacks() }})
{% endif %}
{%- endmacro %}

{#- Asked of all receipts, so that a playback whose last event turned out to be a repetition is found too. -#}
{% macro touched_playbacks() -%}
select playback_id from {{ ref('stg_events') }}
where playback_id is not null
    and event_date in (select event_date from {{ source('raw', 'touched_days') }})
{%- endmacro %}

{% macro forget_touched_visitors() -%}
{% if is_incremental() %}
delete from {{ this }} where visitor_key in ({{ touched_visitors() }})
{% endif %}
{%- endmacro %}

{#- Of all receipts as well: a visitor whose events all turned out to be repetitions has no visits any more. -#}
{% macro touched_visitors() -%}
select {{ visitor_key() }} as visitor_key from {{ ref('stg_events') }}
where event_date in (select event_date from {{ source('raw', 'touched_days') }})
{%- endmacro %}

{#- Whose visit it is: a profile's; where nobody is signed in, that of the visit which the client named. -#}
{% macro visitor_key(relation=none) -%}
{%- set of = relation ~ '.' if relation else '' -%}
coalesce({{ of }}profile_key, concat('visit:', {{ of }}session_id))
{%- endmacro %}
