{#- Along a column a value stays or falls. -#}
{% test not_increasing(model, value, along, within) %}
with compared as (

    select
        {{ within }},
        {{ along }},
        {{ value }} as amount,
        lag({{ value }}) over (partition by {{ within }} order by {{ along }}) as amount_before
    from {{ model }}

)

select *
from compared
where amount > amount_before
{% endtest %}

{#- A minute begins before its title ends, where it is known when that is, or is the very end. -#}
{% test within_runtime(model, column_name, titles) %}
select reported.*
from {{ model }} as reported
inner join {{ titles }} as titles on reported.{{ column_name }} = titles.title_id
where reported.minute * 60 > titles.runtime_s
{% endtest %}
