{#-
    Incremental models rebuild what depends on the event days in raw.touched_days and nothing else: a hook forgets it,
    in the transaction that appends what is true now. So a row that is not true any more goes as well.
-#}
{% macro forget_touched_days() -%}
{% if is_incremental() %}
delete from {{ this }} where event_date in (select event_date from {{ source('raw', 'touched_days') }})
{% endif %}
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
