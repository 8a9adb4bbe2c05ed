{#- No two rows share these columns. -#}
{% test grain(model, columns) %}
select {{ columns | join(', ') }}, count(*) as copies
from {{ model }}
group by {{ columns | join(', ') }}
having count(*) > 1
{% endtest %}

{#- A condition holds for every row. -#}
{% test expression(model, holds, column_name=none) %}
select *
from {{ model }}
where not coalesce({{ holds }}, false)
{% endtest %}

{#- The sum of a column is that of another model's: nothing is lost or doubled on the way. -#}
{% test same_total(model, total, to, to_total) %}
with here as (select coalesce({{ total }}, 0) as amount from {{ model }}),
there as (select coalesce({{ to_total }}, 0) as amount from {{ to }})
select here.amount as here_amount, there.amount as there_amount
from here cross join there
where abs(here.amount - there.amount) > 1e-6 * greatest(1, abs(there.amount))
{% endtest %}

{#- Whole numbers by group are those of another model, to the last unit; a group that only one of them has counts as 0. -#}
{% test same_balance(model, by, total, to, to_total) %}
with sums as (
    select {{ by | join(', ') }}, {{ total }} as here_amount, 0 as there_amount from {{ model }} group by {{ by | join(', ') }}
    union all
    select {{ by | join(', ') }}, 0 as here_amount, {{ to_total }} as there_amount from {{ to }} group by {{ by | join(', ') }}
)
select {{ by | join(', ') }}, sum(here_amount) as here_amount, sum(there_amount) as there_amount
from sums
group by {{ by | join(', ') }}
having sum(here_amount) <> sum(there_amount)
{% endtest %}

{#- What belongs together sums to zero. -#}
{% test nothing_left(model, by, total) %}
select {{ by | join(', ') }}, {{ total }} as left_over
from {{ model }}
group by {{ by | join(', ') }}
having {{ total }} <> 0
{% endtest %}

{#- These columns are never null: one look at a row for all of them; `missing` names the first that is. -#}
{% test complete(model, columns) %}
select
    case {% for column in columns %}when {{ column }} is null then '{{ column }}' {% endfor %}end as missing,
    *
from {{ model }}
where {% for column in columns %}{{ column }} is null{{ " or " if not loop.last }}{% endfor %}

{% endtest %}

{#- dbt's own test, with the whole row: what is null says nothing about which row it is. -#}
{% macro default__test_not_null(model, column_name) %}
select *
from {{ model }}
where {{ column_name }} is null
{% endmacro %}

{#-
    dbt's own test in bounded memory: ids are counted by a hash of eight bytes, and only those that share a hash with
    another one by themselves. Ten million ids grouped as they are take more than the build may have.
-#}
{% macro default__test_unique(model, column_name) %}
select {{ column_name }}, count(*) as copies
from {{ model }}
where {{ short_hash(column_name) }} in (
    select {{ short_hash(column_name) }}
    from {{ model }}
    where {{ column_name }} is not null
    group by 1
    having count(*) > 1
)
group by {{ column_name }}
having count(*) > 1
{% endmacro %}
