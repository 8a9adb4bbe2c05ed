{#- Of the times of one key, each ends after it starts, and none starts before the one before it has ended. -#}
{% test no_overlap(model, key, starts, ends) %}
with following as (

    select
        {{ key }},
        {{ starts }},
        {{ ends }},
        lead({{ starts }}) over (partition by {{ key }} order by {{ starts }}, {{ ends }}) as next_starts
    from {{ model }}

)

select *
from following
where {{ ends }} <= {{ starts }} or next_starts < {{ ends }} or (next_starts is not null and {{ ends }} is null)
{% endtest %}
